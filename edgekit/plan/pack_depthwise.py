"""Weights of depthwise convolutions as the kernels eat them: EK_DEPTHWISE in native/ops_conv.h."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.layout import QUAD
from edgekit.plan.pack import LARGEST_PAIR

INVERTED = 3  # rows of so many taps the kernel of AVX2 keeps from saturating by itself


def pack_depthwise(weights: NDArray[np.integer], isa: str) -> tuple[int, NDArray[np.int8]]:
    """(height, width, channels) to a number of sets that add up to them, (planes, sets, height, width, 4).

    More than one set is needed for weights beyond int8 and, on AVX2, for -128, which it cannot negate, and
    in rows of more than 3 for pairs that could saturate.
    """
    height, width, channels = weights.shape
    sets: list[NDArray[np.int16]] = []
    rest = np.zeros((height, width, -(-channels // QUAD) * QUAD), np.int16)
    rest[:, :, :channels] = weights
    while not sets or rest.any():
        part = np.clip(rest, -127 if isa == "avx2" else -128, 127)
        sets.append(_narrow(part) if isa == "avx2" and width > INVERTED else part)
        rest = rest - sets[-1]
    stacked = np.stack(sets).reshape(len(sets), height, width, -1, QUAD)
    return len(sets), np.ascontiguousarray(stacked.transpose(3, 0, 1, 2, 4), np.int8)


def _narrow(part: NDArray[np.int16]) -> NDArray[np.int16]:
    """Without the second of two weights that AVX2 adds up in 16 bits and that could be too large for them."""
    narrowed = part.copy()
    for tap in range(part.shape[1] - 2):
        if tap % QUAD == 2:
            continue  # the one that it would pair with is in the next quad of taps
        pair = narrowed[:, [tap, tap + 2]]
        reach = np.maximum(np.maximum(pair, 0).sum(axis=1), -np.minimum(pair, 0).sum(axis=1))
        narrowed[:, tap + 2][reach > LARGEST_PAIR] = 0
    return narrowed
