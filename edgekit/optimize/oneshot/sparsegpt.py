"""Masks for long rows: Frantar and Alistarh 2023, "SparseGPT".

The inputs are gone through once, in their order. What the weights of an input cost is judged when it is their
turn, many inputs at a time; what is cut is made up for by the inputs that are still to come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.optimize.oneshot.pattern import Pattern

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_AT_ONCE = 128  # inputs whose masks are chosen together


def find_mask(weights: Array, hessian: Array, sparsity: float, pattern: Pattern) -> tuple[Mask, float]:
    """Which weights stay, in the shape of `weights` (groups, rows, inputs), and the squared error."""
    left = weights.copy()
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    stay = np.ones(left.shape, np.bool_)
    at_once = -(-_AT_ONCE // pattern.unit) * pattern.unit
    loss = 0.0
    for start in range(0, left.shape[2], at_once):
        part = slice(start, min(start + at_once, left.shape[2]))
        costs = np.square(left[:, :, part] / np.diag(upper)[part])
        stay[:, :, part] = _choose(costs, sparsity, pattern)
        errors = _cut(left[:, :, part], stay[:, :, part], upper[part, part])
        left[:, :, part.stop :] -= errors @ upper[part, part.stop :]
        loss += float(np.square(errors).sum())
    return stay, loss


def _cut(left: Array, stay: Mask, upper: Array) -> Array:
    """Set to zero what does not stay, in place; the errors (groups, rows, inputs) that later inputs get."""
    errors = np.zeros(left.shape)
    for j in range(left.shape[2]):
        errors[:, :, j] = np.where(stay[:, :, j], 0, left[:, :, j]) / upper[j, j]
        left[:, :, j:] -= errors[:, :, j, None] * upper[j, j:]
    return errors


def _choose(costs: Array, sparsity: float, pattern: Pattern) -> Mask:
    """The dearest of the blocks stay."""
    if pattern.of:
        apart = costs.reshape(-1, pattern.of)
        rank = np.argsort(np.argsort(apart, axis=1, kind="stable"), axis=1)
        return np.asarray(rank >= pattern.of - pattern.keep).reshape(costs.shape)
    groups, rows, inputs = costs.shape
    each = costs.reshape(groups, rows, -1, pattern.width).sum(axis=(1, 3))
    stay = np.ones(each.size, np.bool_)
    stay[np.argsort(each, axis=None, kind="stable")[: round(sparsity * each.size)]] = False
    whole = stay.reshape(groups, 1, -1, 1)
    return np.broadcast_to(whole, (groups, rows, whole.shape[2], pattern.width)).reshape(groups, rows, inputs)
