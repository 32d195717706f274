"""The exact greedy order in which a layer's weights can be set to zero: Optimal Brain Surgeon by rows.

For a row w of weights with the squared error (v - w) H (v - w)', setting a block B to zero and letting all
others make up for it costs w_B [(H^-1)_BB]^-1 w_B' and changes w by -w_B [(H^-1)_BB]^-1 (H^-1)_B (Hassibi and
Stork 1993; greedily, row by row: Frantar and Alistarh 2022, "Optimal Brain Compression"). After it H^-1 loses
a term of the rank of the block. These terms are the rows of a Cholesky factor of H^-1 whose pivots are chosen
as it grows. They are kept as such, and a row of the present H^-1 is made when it is wanted: so a step reads
the factor once and writes no matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_CACHE_BYTES = 2**23  # of the factors of the groups that are worked on together
_SHRINK = 0.8  # the working set is made smaller when so many of its blocks are left
_LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class Order:
    """For each group of rows the blocks in the order in which they go, and what each adds to the error.

    Both are (groups, steps).
    """

    blocks: NDArray[np.int64]
    losses: Array


def eliminate(weights: Array, hessian: Array, width: int, keep: int = 0, of: int = 0) -> Order:
    """Greedy elimination of blocks of `width` consecutive inputs in all rows of a group at once.

    `weights` is (groups, rows, inputs), where the error is least; `hessian` (inputs, inputs), positive
    definite. With `of` a group ends when of every `of` consecutive blocks `keep` are left.
    """
    inverse = np.asarray(np.linalg.inv(hessian), np.float64)
    groups, _, inputs = weights.shape
    together = max(1, _CACHE_BYTES // (8 * inputs * inputs))
    parts = [
        _Elimination(weights[i : i + together], inverse, width, keep, of).run()
        for i in range(0, groups, together)
    ]
    return Order(np.concatenate([p.blocks for p in parts]), np.concatenate([p.losses for p in parts]))


class _Elimination:
    """Groups of rows on their way: g groups, r rows each, n blocks in the working set of b inputs each."""

    def __init__(self, weights: Array, inverse: Array, width: int, keep: int, of: int) -> None:
        groups, rows, inputs = weights.shape
        count = inputs // width
        self.width, self.of, self.each = width, of, np.arange(groups)
        self.steps = count // of * (of - keep) if of else count
        blocks = inverse.reshape(count, width, count, width).transpose(0, 2, 1, 3)
        self.inverse = np.ascontiguousarray(blocks)  # (all, all, b, b)
        self.left = weights.reshape(groups, rows, count, width).copy()  # (g, r, n, b): the weights now
        own = self.inverse[np.arange(count), np.arange(count)]
        self.squares = np.repeat(own[None], groups, axis=0)  # (g, n, b, b): diagonal of the inverse now
        self.places = np.tile(np.arange(count), (groups, 1))  # (g, n): which block of all this is
        self.alive = np.ones((groups, count), np.bool_)
        self.spare = np.full((groups, count // of), of - keep) if of else None
        self.factor = np.zeros((groups, self.steps * width, count, width))

    def run(self) -> Order:
        blocks, losses = [], []
        for step in range(self.steps):
            if self.places.shape[1] * _SHRINK >= self.inverse.shape[0] - step:
                self._shrink()
            pick, loss = self._cheapest()
            blocks.append(self.places[self.each, pick])
            losses.append(loss)
            self._remove(pick, step * self.width)
        return Order(np.stack(blocks, axis=1), np.stack(losses, axis=1))

    def _cheapest(self) -> tuple[NDArray[np.int64], Array]:
        """The block of each group that costs least, and what it costs."""
        costs = np.where(self.alive, _costs(self.squares, self.left), np.inf)
        if self.spare is not None:
            open_ = np.take_along_axis(self.spare, self.places // self.of, axis=1) > 0
            costs = np.where(open_, costs, np.inf)
        pick = costs.argmin(axis=1)
        return pick, costs[self.each, pick]

    def _remove(self, pick: NDArray[np.int64], done: int) -> None:
        """Set a block of each group to zero; the factor has `done` rows."""
        each, width = self.each, self.width
        groups, count = self.places.shape
        own = self.places[each, pick]
        row = self.inverse[own[:, None], self.places].transpose(0, 2, 1, 3).reshape(groups, width, -1)
        past = self.factor[:, :done].reshape(groups, done, count * width)
        mine = self.factor[each, :done, pick]  # (g, t, b)
        row -= mine.transpose(0, 2, 1) @ past
        root = _cholesky(row.reshape(groups, width, count, width)[each, :, pick])
        new = _solve_lower(root, row)  # (g, b, n * b)
        shares = _solve_lower(root, self.left[each, :, pick].transpose(0, 2, 1))  # (g, b, r)
        self.left -= (shares.transpose(0, 2, 1) @ new).reshape(self.left.shape)
        self.left[each, :, pick] = 0
        parts = new.reshape(groups, width, count, width)
        for k in range(width):
            self.squares -= parts[:, k, :, :, None] * parts[:, k, :, None, :]
        self.factor[:, done : done + width] = parts
        self.alive[each, pick] = False
        if self.spare is not None:
            self.spare[each, own // self.of] -= 1

    def _shrink(self) -> None:
        """Leave out what is zero already: as many blocks in every group."""
        groups = len(self.each)
        stay = np.nonzero(self.alive)[1].reshape(groups, -1)
        self.left = np.take_along_axis(self.left, stay[:, None, :, None], axis=2)
        self.squares = np.take_along_axis(self.squares, stay[:, :, None, None], axis=1)
        self.places = np.take_along_axis(self.places, stay, axis=1)
        self.factor = np.take_along_axis(self.factor, stay[:, None, :, None], axis=2)
        self.alive = np.ones(stay.shape, np.bool_)


def _costs(squares: Array, left: Array) -> Array:
    """The costs w S^-1 w' of blocks over the rows of a group: (g, n) of (g, n, b, b) and (g, r, n, b)."""
    root = _cholesky(squares)
    whole = left.transpose(0, 2, 3, 1)  # (g, n, b, r)
    return np.asarray(np.square(_solve_lower(root, whole)).sum(axis=(2, 3)))


def _cholesky(squares: Array) -> Array:
    """Lower factors of many small matrices; what rounding made singular counts as nearly so."""
    root = np.zeros_like(squares)
    for j in range(squares.shape[-1]):
        rest = squares[..., j:, j] - (root[..., j:, :j] * root[..., j : j + 1, :j]).sum(axis=-1)
        pivot = np.sqrt(np.maximum(rest[..., :1], _LEAST))
        root[..., j:, j] = rest / pivot
        root[..., j, j] = pivot[..., 0]
    return root


def _solve_lower(root: Array, right: Array) -> Array:
    """Forward substitution: (..., b, b) and (..., b, m) to (..., b, m)."""
    result = np.empty_like(right)
    for j in range(root.shape[-1]):
        known = (root[..., j, :j, None] * result[..., :j, :]).sum(axis=-2)
        result[..., j, :] = (right[..., j, :] - known) / root[..., j, j, None]
    return result
