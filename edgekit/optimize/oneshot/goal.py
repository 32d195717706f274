"""What one-shot pruning shall reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.device import Device
from edgekit.errors import UsageError
from edgekit.optimize.oneshot.pattern import Pattern

_LEVELS = np.round(np.arange(0, 0.985, 0.02), 2)


@dataclass(frozen=True)
class Goal:
    """What to reach: a share of zeros, or milliseconds on one core of a device; a pattern alone for N:M.

    Raises UsageError for what makes no sense.
    """

    pattern: Pattern
    sparsity: float | None = None
    max_ms: float | None = None
    device: Device | None = None

    def __post_init__(self) -> None:
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise UsageError(f"--sparsity {self.sparsity:g}: expected 0 or more and less than 1")
        if self.max_ms is not None and not 0 < self.max_ms < math.inf:
            raise UsageError(f"--max-latency-ms {self.max_ms:g}: expected more than 0")
        if self.sparsity is not None and self.max_ms is not None:
            raise UsageError("--sparsity or --max-latency-ms: give one of them")
        if self.max_ms is not None and self.device is None:
            raise UsageError("--max-latency-ms needs --device: edgekit devices list")
        if self.sparsity is None and self.max_ms is None and not self.pattern.of:
            raise UsageError(
                "how sparse? give --sparsity 0.7, --max-latency-ms with --device, or an N:M pattern"
            )
        most = self.pattern.sparsity
        if self.sparsity is not None and most is not None and self.sparsity > most:
            raise UsageError(
                f"--sparsity {self.sparsity:g}: {self.pattern.name} leaves at most {most:.0%} zero"
            )

    @property
    def levels(self) -> NDArray[np.float64]:
        """The sparsities that a layer may get; with N:M all or nothing."""
        of_pattern = self.pattern.sparsity
        return _LEVELS if of_pattern is None else np.array([0.0, of_pattern])
