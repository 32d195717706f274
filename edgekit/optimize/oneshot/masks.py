"""Which weights of a layer go first, and what that costs.

The exact greedy order serves rows of up to `LONGEST` inputs; longer ones get SparseGPT's masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.optimize.oneshot.elimination import eliminate
from edgekit.optimize.oneshot.pattern import Pattern, padded, padded_hessian, unpadded
from edgekit.optimize.oneshot.refit import Problem, refit
from edgekit.optimize.oneshot.sparsegpt import find_mask

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LONGEST = 1000
_KNOTS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97)  # sparsities at which SparseGPT's error is computed


class Trace(Protocol):
    """How a layer gets sparser: its masks, and the squared error that comes with them.

    `least` is the share of weights that are zero already, by whole blocks.
    """

    @property
    def least(self) -> float: ...
    def levels(self, asked: Array) -> Array:
        """The sparsities to choose from, of those that are asked for."""
        ...

    def mask(self, sparsity: float) -> Mask:
        """Which weights stay, (outputs, inputs), when that share of them goes, of whole blocks."""
        ...

    def loss(self, sparsity: float) -> float:
        """The squared error, summed over the outputs, that this adds."""
        ...


@dataclass(frozen=True, eq=False)
class _Grid:
    """A layer's weights in blocks of a pattern."""

    pattern: Pattern
    channels: int

    def blocks(self, matrix: Array) -> Array:
        """(outputs, inputs) to (groups, rows of a group, inputs), both filled up with zeros."""
        wide = padded(matrix, self.channels, self.pattern.unit)
        wide = np.pad(wide, ((0, -len(wide) % self.pattern.rows), (0, 0)))
        return wide.reshape(-1, self.pattern.rows, wide.shape[1])

    def used(self, mask: Mask) -> Mask:
        """Which blocks have a weight that is not zero, (groups, blocks)."""
        grouped = self.blocks(mask.astype(np.float64))
        apart = grouped.reshape(*grouped.shape[:2], -1, self.pattern.width)
        return np.asarray(apart.any(axis=(1, 3)))

    def weights(self, used: Mask, outputs: int) -> Mask:
        """The inverse of `used`."""
        whole = used.repeat(self.pattern.rows, axis=0).repeat(self.pattern.width, axis=1)
        return unpadded(whole[:outputs], self.channels, self.pattern.unit)


def trace(problem: Problem, weights: NDArray[np.int64], channels: int, pattern: Pattern) -> Trace:
    """How the layer gets sparser; blocks of `weights` (outputs, inputs) that are zero stay so."""
    grid = _Grid(pattern, channels)
    used = grid.used(weights != 0)
    stay = grid.weights(used, len(weights))
    best = problem.best if stay.all() else refit(problem, stay)
    if weights.shape[1] > LONGEST:
        return _Approximate(problem, best, grid, stay)
    return _exact(problem, best, grid, used)


@dataclass(frozen=True, eq=False)
class _Exact:
    """Blocks in the order in which they go, over all rows; `losses[n]` is the error when n are gone."""

    grid: _Grid
    outputs: int
    shape: tuple[int, int]  # of the blocks
    order: NDArray[np.int64]
    losses: Array
    least: float

    def levels(self, asked: Array) -> Array:
        return asked

    def _count(self, sparsity: float) -> int:
        every = self.shape[0] * self.shape[1]
        return min(round(max(sparsity, self.least) * every), len(self.order))

    def mask(self, sparsity: float) -> Mask:
        used = np.ones(self.shape[0] * self.shape[1], np.bool_)
        used[self.order[: self._count(sparsity)]] = False
        return self.grid.weights(used.reshape(self.shape), self.outputs)

    def loss(self, sparsity: float) -> float:
        return float(self.losses[self._count(sparsity)])


def _exact(problem: Problem, best: Array, grid: _Grid, used: Mask) -> _Exact:
    """The greedy orders of all rows merged by what each step costs.

    A block goes no earlier than the dearest of those that go before it in its row.
    """
    pattern = grid.pattern
    hessian = padded_hessian(problem.hessian, grid.channels, pattern.unit)
    order = eliminate(grid.blocks(best), hessian, pattern.width, pattern.keep, pattern.of)
    rank = np.argsort(np.maximum.accumulate(order.losses, axis=1), axis=None, kind="stable")
    numbers = (np.arange(len(used))[:, None] * used.shape[1] + order.blocks).ravel()[rank]
    losses = np.concatenate([[0.0], np.cumsum(order.losses.ravel()[rank])])
    least = np.count_nonzero(~used) / used.size if not pattern.of else 0.0
    return _Exact(grid, len(best), used.shape, numbers, losses, least)


@dataclass(frozen=True, eq=False)
class _Approximate:
    """SparseGPT's masks, each found when it is wanted; the error between knots is interpolated."""

    problem: Problem
    best: Array
    grid: _Grid
    stay: Mask

    @property
    def least(self) -> float:
        return 1 - float(self.stay.mean())

    def levels(self, asked: Array) -> Array:
        return np.array(_KNOTS) if len(asked) > len(_KNOTS) else asked

    def mask(self, sparsity: float) -> Mask:
        return self._find(sparsity)[0] & self.stay

    def loss(self, sparsity: float) -> float:
        return float(np.interp(max(sparsity, self.least), _KNOTS, self._curve))

    @cached_property
    def _curve(self) -> list[float]:
        return [self._find(knot)[1] for knot in _KNOTS]

    @cached_property
    def _found(self) -> dict[float, tuple[Mask, float]]:
        return {}

    def _find(self, sparsity: float) -> tuple[Mask, float]:
        if sparsity not in self._found:
            self._found[sparsity] = self._search(sparsity)
        return self._found[sparsity]

    def _search(self, sparsity: float) -> tuple[Mask, float]:
        pattern = self.grid.pattern
        hessian = padded_hessian(self.problem.hessian, self.grid.channels, pattern.unit)
        grouped = self.grid.blocks(self.best)
        mask, loss = find_mask(grouped, hessian, sparsity, pattern)
        wide = mask.reshape(-1, grouped.shape[2])[: len(self.best)]
        return unpadded(wide, self.grid.channels, pattern.unit), loss
