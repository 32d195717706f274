"""What is zeroed together: single weights, blocks of them, or so many of every few."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError

MOST = 64  # of anything in a pattern


@dataclass(frozen=True, slots=True)
class Pattern:
    """Blocks of `rows` output channels by `width` consecutive input channels, each zero as a whole.

    With `keep` and `of` (N:M) the blocks are single weights, and of every `of` consecutive ones of a row
    exactly `keep` may stay.
    """

    name: str
    rows: int = 1
    width: int = 1
    keep: int = 0
    of: int = 0

    @property
    def unit(self) -> int:
        """Input channels that belong together; a layer's are padded to a multiple of it."""
        return self.of or self.width

    @property
    def sparsity(self) -> float | None:
        """The share of zeros that the pattern itself asks for; None where it may be any."""
        return 1 - self.keep / self.of if self.of else None


def parse_pattern(text: str) -> Pattern:
    """`unstructured`, `1x4` (rows by inputs) or `2:4` (so many of so many stay). Raises UsageError."""
    if text == "unstructured":
        return Pattern(text)
    found = re.fullmatch(r"(\d{1,3})([x:])(\d{1,3})", text)
    first, second = (int(found[1]), int(found[3])) if found else (0, 0)
    if found and found[2] == "x" and 1 <= first <= MOST and 1 <= second <= MOST:
        return Pattern(text, first, second)
    if found and found[2] == ":" and 1 <= first < second <= MOST:
        return Pattern(text, keep=first, of=second)
    raise UsageError(
        f"pattern {text[:40]!r}: expected unstructured, blocks like 1x4 or 4x4 (output channels x inputs), "
        f"or N:M like 2:4 with N below M, no number above {MOST}"
    )


def padded(matrix: NDArray[np.float64], channels: int, unit: int) -> NDArray[np.float64]:
    """(rows, places * channels) with zeros behind each place's channels up to a multiple of `unit`."""
    rows = len(matrix)
    apart = matrix.reshape(rows, -1, channels)
    return np.pad(apart, ((0, 0), (0, 0), (0, -channels % unit))).reshape(rows, -1)


def padded_hessian(hessian: NDArray[np.float64], channels: int, unit: int) -> NDArray[np.float64]:
    """The same for both axes of a square matrix; inputs that do not exist are independent of all others."""
    wide = padded(padded(hessian, channels, unit).T, channels, unit).T
    phantom = padded(np.ones((1, len(hessian))), channels, unit)[0] == 0
    wide[phantom, phantom] = np.trace(hessian) / len(hessian)
    return wide


def unpadded(mask: NDArray[np.bool_], channels: int, unit: int) -> NDArray[np.bool_]:
    """A mask over padded inputs, without the padding."""
    rows, wide = len(mask), channels + -channels % unit
    return mask.reshape(rows, -1, wide)[:, :, :channels].reshape(rows, -1)
