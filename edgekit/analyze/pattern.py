"""How the zeros of a layer lie: what a kernel can make of them depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUAD = 4
_FEW = 0.02  # zeros, that are just small weights
_MOST = 0.9  # of the zeros, that name the pattern
_BY_CHANCE = 0.1  # quads more than chance gives, from which some of them are meant


def pattern_of(weights: NDArray[Any]) -> str:
    """`dense`, `channels`, `1x4`, `2:4`, `partly 1x4` or `unstructured`.

    `weights` has outputs first and inputs last, as `.tflite` files have them. `channels` are outputs that are
    zero as a whole, `1x4` groups of four inputs of one output, `2:4` at most two of every such four.
    """
    matrix = weights.reshape(-1, weights.shape[-1])
    used = np.pad(matrix != 0, ((0, 0), (0, -matrix.shape[1] % QUAD)))
    zeros = 1 - float(np.count_nonzero(matrix)) / matrix.size
    if zeros < _FEW:
        return "dense"
    if 1 - float(weights.reshape(len(weights), -1).any(axis=1).mean()) >= _MOST * zeros:
        return "channels"
    quads = used.reshape(len(matrix), -1, QUAD).sum(axis=2)
    empty = float(np.mean(quads == 0))
    if empty >= _MOST * zeros:
        return "1x4"
    if matrix.shape[1] >= QUAD and quads.max() <= QUAD // 2:
        return "2:4"
    return "partly 1x4" if empty > zeros**QUAD + _BY_CHANCE else "unstructured"
