"""What a layer's survivors become: least squares to what the layer gave before, then whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_FEW = 0.4  # damping where there is one sample for each input
_LEAST = 1e-5  # damping where inputs hardly vary, by their mean square
_CACHE_BYTES = 2**24  # of the matrices of the rows that are solved together


@dataclass(frozen=True, eq=False)
class Moments:
    """What least squares needs to know of a layer's inputs x and of the outputs y that they should give.

    All are means over samples, of x and y less their means where the layer has a bias that takes these up.
    `hessian` (d, d) is E[x x'], `cross` (o, d) E[y x'], `power` (o,) E[y^2]; `input_mean` (d,) and
    `output_mean` (o,) are zero where there is no bias.
    `count` is how many samples there were.
    """

    hessian: Array
    cross: Array
    power: Array
    input_mean: Array
    output_mean: Array
    count: int

    def error(self, weights: Array) -> float:
        """Mean squared error of all outputs over their mean square; `weights` is (o, d)."""
        explained = np.einsum("od,od->o", weights @ self.hessian - 2 * self.cross, weights)
        total = float(self.power.sum())
        return max(float(explained.sum()) + total, 0.0) / total if total > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Problem:
    """Damped least squares for a layer: (w - v) H (v - w)' around the best weights v."""

    hessian: Array  # (d, d), positive definite
    target: Array  # (o, d): v H

    @property
    def best(self) -> Array:
        """The weights at which the error is least when none is zero, (o, d)."""
        return np.asarray(np.linalg.solve(self.hessian, self.target.T).T, np.float64)


def damped(moments: Moments, weights: Array, damping: float) -> Problem:
    """The problem that also holds the weights to what they were, by `damping` of the mean square of an input.

    The fewer samples there are for each input, the more, as they would be learnt by heart. An input that
    never varies has no say; so that all stays solvable, there is a least damping, above what rounding leaves
    of the squares of inputs that are far from 0.
    """
    few = _FEW * len(moments.hessian) / moments.count
    spread = float(np.diag(moments.hessian).mean())
    extra = (damping + few) * spread + _LEAST * (spread + float(np.square(moments.input_mean).mean())) + 1e-9
    eye = np.eye(len(moments.hessian))
    return Problem(moments.hessian + extra * eye, moments.cross + extra * weights)


def refit(problem: Problem, mask: NDArray[np.bool_]) -> Array:
    """The best weights (o, d) among those that are zero where the mask is false."""
    weights = np.zeros(mask.shape)
    few = 2 * mask.sum(axis=1) > mask.shape[1]  # zeros: it is less work to solve for these
    if few.any():
        weights[few] = _with_few_zeros(problem, mask, np.nonzero(few)[0])
    for rows, places, real in _alike(mask & ~few[:, None]):
        matrices = _matrices(problem.hessian, places, real)
        targets = np.where(real, problem.target[rows[:, None], places], 0)
        found = np.linalg.solve(matrices, targets[..., None])[..., 0]
        _put(weights, rows, places, real, found)
    return weights


def _with_few_zeros(problem: Problem, mask: NDArray[np.bool_], rows: NDArray[np.int64]) -> Array:
    """What `refit` gives for these rows, from the weights that are best without zeros.

    Setting w_Z to zero changes the others by -w_Z [(H^-1)_ZZ]^-1 (H^-1)_Z, as in `eliminate`.
    """
    inverse, best = np.asarray(np.linalg.inv(problem.hessian), np.float64), problem.best[rows]
    multipliers = np.zeros(best.shape)
    for some, places, real in _alike(~mask[rows]):
        matrices = _matrices(inverse, places, real)
        taken = np.where(real, best[some[:, None], places], 0)
        _put(multipliers, some, places, real, np.linalg.solve(matrices, taken[..., None])[..., 0])
    return np.where(mask[rows], best - multipliers @ inverse, 0)


def round_weights(
    problem: Problem, weights: Array, scale: Array, limits: tuple[int, int]
) -> NDArray[np.int64]:
    """Whole numbers of `scale` (o,) for weights (o, d), zeros kept; each error is made up for by the later.

    As Frantar et al. 2022, "GPTQ", but by a factor of the matrix itself: no inverse is made.
    """
    result = np.zeros(weights.shape, np.int64)
    for rows, places, real in _alike(weights != 0):
        matrices = _matrices(problem.hessian, places, real)
        wanted = np.where(real, weights[rows[:, None], places], 0) / scale[rows, None]
        _put(result, rows, places, real, round_rows(wanted, upper_factors(matrices), limits))
    return result


def upper_factors(matrices: Array) -> Array:
    """The upper triangles R with R R' = H of symmetric matrices (b, s, s)."""
    return np.asarray(np.linalg.cholesky(matrices[:, ::-1, ::-1])[:, ::-1, ::-1], np.float64)


def round_rows(wanted: Array, upper: Array, limits: tuple[int, int]) -> NDArray[np.int64]:
    """Rows (b, s) to whole numbers, one place after the other; `upper` is (b, s, s).

    The squared error is that of (wanted - whole) R, whose entry j only knows the places up to j: each place
    makes its own as small as it can.
    """
    whole, error = np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape)
    for j in range(wanted.shape[1]):
        owed = np.einsum("bi,bi->b", error[:, :j], upper[:, :j, j]) / upper[:, j, j]
        whole[:, j] = np.clip(np.rint(wanted[:, j] + owed), *limits)
        error[:, j] = wanted[:, j] - whole[:, j]
    return whole


Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def _alike(mask: NDArray[np.bool_]) -> Iterator[Rows]:
    """Rows of about as many survivors, as many as fit the cache.

    Their numbers (b,), the places of their survivors (b, s), filled up with 0, and which of these are real.
    """
    counts = mask.sum(axis=1)
    order = np.argsort(counts, kind="stable")[::-1]
    order = order[counts[order] > 0]
    while len(order):
        most = int(counts[order[0]])
        rows, order = np.split(order, [max(1, _CACHE_BYTES // (8 * most * most))])
        real = np.arange(most) < counts[rows, None]
        places = np.zeros(real.shape, np.int64)
        places[real] = np.nonzero(mask[rows])[1]
        yield rows, places, real


def _matrices(hessian: Array, places: NDArray[np.int64], real: NDArray[np.bool_]) -> Array:
    """The hessian of each row's survivors (b, s, s), and for what is not real those of a unit matrix."""
    both = real[:, :, None] & real[:, None, :]
    return np.where(both, hessian[places[:, :, None], places[:, None, :]], np.eye(places.shape[1]))


def _put(
    out: NDArray[Any], rows: NDArray[np.int64], places: NDArray[np.int64], real: NDArray[np.bool_],
    values: NDArray[Any],
) -> None:  # fmt: skip
    every = np.broadcast_to(rows[:, None], places.shape)
    out[every[real], places[real]] = values[real]
