"""The exact greedy order in which a layer's weights can be set to zero: Optimal Brain Surgeon by rows.

For a row w of weights with the squared error (v - w) H (v - w)', setting a block B to zero and letting all
others make up for it costs w_B [(H^-1)_BB]^-1 w_B' and changes w by -w_B [(H^-1)_BB]^-1 (H^-1)_B (Hassibi and
Stork 1993; greedily, row by row: Frantar and Alistarh 2022, "Optimal Brain Compression"). After it H^-1 loses
a term of the rank of the block. These terms are the rows of a Cholesky factor of H^-1 whose pivots are chosen
as it grows. They are kept as such, and a row of the present H^-1 is made when it is wanted: so a step reads
the factor once and writes no matrix. In long rows some blocks go together, of about twice as many that are
cheapest in turn each one that then is, so that their rows are made by one product of matrices; what they cost
is exact, and all but the same order comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Numbers = NDArray[np.int64]
_CACHE_BYTES = 2**26  # of the factors of the groups that are worked on together
_SHRINK = 0.8  # the working set is made smaller when so many of its blocks are left
_TOGETHER = 64  # a part of so many of the blocks that are left go together
_LONG = 256  # inputs from which on the factor has half the precision: the damping keeps its pivots far from 0
_TRIED = 2  # blocks that are looked at for each that goes
_LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class Order:
    """For each group of rows the blocks in the order in which they go, and what each adds to the error.

    Both are (groups, steps).
    """

    blocks: Numbers
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
        self.width, self.of, self.each = width, of, np.arange(groups)[:, None]
        self.steps = count // of * (of - keep) if of else count
        blocks = inverse.reshape(count, width, count, width).transpose(0, 2, 1, 3)
        own = blocks[np.arange(count), np.arange(count)]
        self.kind = np.float32 if inputs >= _LONG else np.float64
        self.inverse = blocks.astype(self.kind)  # (all, all, b, b)
        self.left = weights.reshape(groups, rows, count, width).copy()  # (g, r, n, b): the weights now
        self.squares = np.repeat(own[None], groups, axis=0)  # (g, n, b, b): diagonal of the inverse now
        self.places = np.tile(np.arange(count), (groups, 1))  # (g, n): which block of all this is
        self.alive = np.ones((groups, count), np.bool_)
        self.spare = np.full((groups, count // of), of - keep) if of else None
        self.done = 0
        self.factor = np.zeros((groups, 0, count, width), self.kind)
        self._make_room()

    def run(self) -> Order:
        blocks, losses = [], []
        while self.done < self.steps:
            if self.places.shape[1] * _SHRINK >= self.inverse.shape[0] - self.done:
                self._shrink()
            many = self._many()
            near = self._cheapest(many * _TRIED if many > 1 else 1)
            rows = self._rows(near)
            chosen, mine = self._choose(near, rows, many)
            blocks.append(np.take_along_axis(self.places, chosen, axis=1))
            losses.append(self._remove(chosen, mine))
        return Order(np.concatenate(blocks, axis=1), np.concatenate(losses, axis=1))

    def _many(self) -> int:
        """How many blocks go together."""
        left = self.inverse.shape[0] - self.done
        return max(1, min(left // _TOGETHER, self.steps - self.done))

    def _open(self, places: Numbers, spare: Numbers | None) -> NDArray[np.bool_] | bool:
        """Which blocks the pattern lets go."""
        return True if spare is None else np.take_along_axis(spare, places // self.of, axis=1) > 0

    def _cheapest(self, most: int) -> Numbers:
        """The blocks of each group that cost least now, (g, most) or as many as may go in every group."""
        free = self.alive & self._open(self.places, self.spare)
        most = min(most, int(free.sum(axis=1).min()))
        costs = np.where(free, _costs(self.squares, self.left), np.inf)
        if most == 1:
            return costs.argmin(axis=1)[:, None]
        return np.argpartition(costs, most - 1, axis=1)[:, :most]

    def _rows(self, near: Numbers) -> Real:
        """Of the present inverse: (g, m * b, n * b)."""
        groups, count = self.places.shape
        own = np.take_along_axis(self.places, near, axis=1)
        rows = self.inverse[own[:, :, None], self.places[:, None]].transpose(0, 1, 3, 2, 4)
        rows = rows.reshape(groups, near.shape[1] * self.width, -1)
        past = self.factor[:, : self.filled].reshape(groups, self.filled, count * self.width)
        mine = self.factor[self.each, : self.filled, near]  # (g, m, t, b)
        mine = mine.transpose(0, 1, 3, 2).reshape(groups, rows.shape[1], self.filled)
        rows -= mine @ past
        return rows

    def _choose(self, near: Numbers, rows: Real, many: int) -> tuple[Numbers, Real]:
        """Of the blocks that are near the cheapest, one after the other: which they are, and their rows."""
        groups, size = near.shape
        if size == 1:
            return near, rows
        own = np.ascontiguousarray(np.take_along_axis(rows, self._columns(near), axis=2))
        left = np.take_along_axis(self.left, near[:, None, :, None], axis=2)
        order = self._greedy(own, left, np.take_along_axis(self.places, near, axis=1), many)
        apart = rows.reshape(groups, size, self.width, -1)[self.each, order]
        return np.take_along_axis(near, order, axis=1), apart.reshape(groups, -1, rows.shape[2])

    def _columns(self, blocks: Numbers) -> Numbers:
        """The columns of blocks (g, k) among those of the working set: (g, 1, k * b)."""
        places = blocks[:, None, :, None] * self.width + np.arange(self.width)
        return places.reshape(len(blocks), 1, -1)

    def _greedy(self, own: Real, left: Array, places: Numbers, many: int) -> Numbers:
        """The order (g, k) in which so many of m blocks go, or fewer if the pattern lets no more.

        `own` (g, m * b, m * b) is their part of the inverse, `left` (g, r, m, b) their weights; both are
        used up.
        """
        groups, size = places.shape
        width, each = self.width, np.arange(groups)
        square = own.reshape(groups, size, width, size, width)  # the same memory
        spare = None if self.spare is None else self.spare.copy()
        here, picks = np.ones(places.shape, np.bool_), []
        for _ in range(many):
            free = here & self._open(places, spare)
            if not free.any(axis=1).all():
                break
            diagonal = square.diagonal(axis1=1, axis2=3).transpose(0, 3, 1, 2)
            pick = np.where(free, _costs(diagonal, left), np.inf).argmin(axis=1)
            picks.append(pick)
            here[each, pick] = False
            if spare is not None:
                spare[each, places[each, pick] // self.of] -= 1
            root = _cholesky(diagonal[each, pick])
            new = _solve_lower(root, square[each, pick].reshape(groups, width, -1))
            shares = _solve_lower(root, left[each, :, pick].transpose(0, 2, 1))
            left -= (shares.transpose(0, 2, 1) @ new).reshape(left.shape)
            own -= new.transpose(0, 2, 1) @ new
            square[each, pick, :, pick] = np.eye(width)  # what rounding leaves there would be divided by
        return np.stack(picks, axis=1)

    def _remove(self, chosen: Numbers, rows: Real) -> Array:
        """Set k blocks of each group to zero, one after the other; what each costs, (g, k)."""
        width = self.width
        groups, many = chosen.shape
        count = self.places.shape[1]
        root = _cholesky(np.take_along_axis(rows, self._columns(chosen), axis=2))
        taken = np.take_along_axis(self.left, chosen[:, None, :, None], axis=2)
        taken = taken.reshape(groups, -1, many * width).transpose(0, 2, 1)  # (g, k * b, r)
        new, shares = _forward(root, rows), _forward(root, taken)
        self.left -= (shares.transpose(0, 2, 1) @ new).reshape(self.left.shape)
        np.put_along_axis(self.left, chosen[:, None, :, None], 0, axis=2)
        parts = new.reshape(groups, many * width, count, width)
        for i in range(width):
            for j in range(width):
                self.squares[:, :, i, j] -= np.einsum("gtn,gtn->gn", parts[..., i], parts[..., j])
        np.put_along_axis(self.squares, chosen[:, :, None, None], np.eye(width), axis=1)
        self.factor[:, self.filled : self.filled + many * width] = parts
        self.filled += many * width
        self.done += many
        np.put_along_axis(self.alive, chosen, values=False, axis=1)
        if self.spare is not None:
            units = np.take_along_axis(self.places, chosen, axis=1) // self.of
            np.subtract.at(self.spare, (self.each, units), 1)
        return np.asarray(np.square(shares).reshape(groups, many, -1).sum(axis=2))

    def _shrink(self) -> None:
        """Leave out what is zero already: as many blocks in every group."""
        stay = np.nonzero(self.alive)[1].reshape(len(self.each), -1)
        self.left = np.take_along_axis(self.left, stay[:, None, :, None], axis=2)
        self.squares = np.take_along_axis(self.squares, stay[:, :, None, None], axis=1)
        self.places = np.take_along_axis(self.places, stay, axis=1)
        self.alive = np.ones(stay.shape, np.bool_)
        self._make_room(stay)

    def _make_room(self, stay: Numbers | None = None) -> None:
        """In the factor, until the working set shrinks again."""
        groups, count = self.places.shape
        gone = count - int(count * _SHRINK) + count // _TOGETHER + 1
        room = (min(self.done + gone, self.steps)) * self.width
        factor = np.empty((groups, room, count, self.width), self.kind)
        self.filled = self.done * self.width
        if stay is not None:
            for group in range(groups):
                factor[group, : self.filled] = self.factor[group, : self.filled, stay[group]].swapaxes(0, 1)
        self.factor = factor


def _costs(squares: Real, left: Real) -> Array:
    """The costs w S^-1 w' of blocks over the rows of a group: (g, n) of (g, n, b, b) and (g, r, n, b)."""
    root = _cholesky(squares)
    whole = left.transpose(0, 2, 3, 1)  # (g, n, b, r)
    return np.asarray(np.square(_solve_lower(root, whole)).sum(axis=(2, 3)))


def _cholesky(squares: Real) -> Real:
    """Lower factors of many small matrices; what rounding made singular counts as nearly so."""
    root = np.zeros_like(squares)
    for j in range(squares.shape[-1]):
        rest = squares[..., j:, j] - (root[..., j:, :j] * root[..., j : j + 1, :j]).sum(axis=-1)
        pivot = np.sqrt(np.maximum(rest[..., :1], _LEAST))
        root[..., j:, j] = rest / pivot
        root[..., j, j] = pivot[..., 0]
    return root


def _forward(root: Real, right: Real) -> Real:
    """The same as `_solve_lower` for larger matrices."""
    if root.shape[-1] < 8:
        return _solve_lower(root, right)
    return np.asarray(np.linalg.solve(root, right.astype(root.dtype)))


def _solve_lower(root: Real, right: Real) -> Real:
    """Forward substitution: (..., b, b) and (..., b, m) to (..., b, m)."""
    result = np.empty_like(right)
    for j in range(root.shape[-1]):
        known = (root[..., j, :j, None] * result[..., :j, :]).sum(axis=-2)
        result[..., j, :] = (right[..., j, :] - known) / root[..., j, j, None]
    return result
