"""One budget for all layers, of weights or of milliseconds: which level of sparsity each gets of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BudgetError
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot import latency
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.layers import Layer
from edgekit.optimize.oneshot.masks import Trace
from edgekit.optimize.oneshot.refit import Moments, Problem

Array = NDArray[np.float64]
_STEPS = 16384  # that a budget is divided into; a layer may seem dearer than it is by one of them
_BREAKS = 1.0  # what a layer of an N:M pattern may do to the outputs, in what all others do
_MOST_SPARED = 2
_SPARED = 0.03  # of the zeros of an N:M pattern, that may be given up where they do most harm


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that may be pruned, and what each level of sparsity costs and does.

    `moments` and `problem` are those of the dense network. By level: `losses`, comparable between layers,
    `sizes`, the weights left, and `times` in ms, if there is a device. `effect` is what pruning it alone
    does to the network's outputs.
    """

    layer: Layer
    trace: Trace
    moments: Moments
    problem: Problem
    levels: Array
    losses: Array
    sizes: Array
    times: Array
    effect: float = 0.0

    def loss(self, sparsity: float) -> float:
        """At any level."""
        return float(np.interp(sparsity, self.levels, self.losses))


def spend(candidates: Sequence[Candidate], goal: Goal, dense: Graph, held: float = 0.0) -> list[float]:
    """The sparsity of each layer; of a budget of milliseconds, the part `held` is not spent.

    Raises BudgetError, with what comes nearest, if the goal cannot be met.
    """
    if goal.max_ms is not None:
        numbers = _spend_time(candidates, goal, dense, held)
    elif goal.sparsity is not None:
        numbers = _spend_weights(candidates, goal.sparsity)
    else:
        numbers = _spare_few(candidates)
    return [float(c.levels[number]) for c, number in zip(candidates, numbers, strict=True)]


def _spend_weights(candidates: Sequence[Candidate], sparsity: float) -> list[int]:
    total = sum(c.layer.size for c in candidates)
    numbers = allocate([c.sizes for c in candidates], [c.losses for c in candidates], (1 - sparsity) * total)
    if numbers is None:
        most = 1 - sum(float(c.sizes.min()) for c in candidates) / total
        raise BudgetError(f"--sparsity {sparsity:g} cannot be met: {most:.3f} is the most in this network")
    return numbers


def _spend_time(candidates: Sequence[Candidate], goal: Goal, dense: Graph, held: float) -> list[int]:
    assert goal.device is not None and goal.max_ms is not None  # noqa: S101, PT018  as a goal sees to
    rest_ms = latency.rest_ms(dense, [c.layer for c in candidates], goal.device)
    budget_ms = (1 - held) * goal.max_ms - rest_ms
    numbers = allocate([c.times for c in candidates], [c.losses for c in candidates], budget_ms)
    if numbers is None:
        least, now = (rest_ms + sum(float(pick(c)) for c in candidates) for pick in (_least_ms, _now_ms))
        raise BudgetError(
            f"--max-latency-ms {goal.max_ms:g} cannot be met on {goal.device.name}: pruning gets it down to "
            f"{least + held * goal.max_ms:.2f} ms at most, from {now:.2f} ms"
        )
    return numbers


def _least_ms(candidate: Candidate) -> float:
    return float(candidate.times.min())


def _now_ms(candidate: Candidate) -> float:
    return float(candidate.times[0])


def _spare_few(candidates: Sequence[Candidate]) -> list[int]:
    """All layers get the pattern but small ones that do much, and one or two that alone do more to the
    outputs than all the others.
    """
    numbers = [1] * len(candidates)
    for _ in range(_MOST_SPARED):
        trials = [c.effect * number for c, number in zip(candidates, numbers, strict=True)]
        worst = int(np.argmax(trials))
        if len(candidates) > 2 and trials[worst] > _BREAKS * (sum(trials) - trials[worst]):
            numbers[worst] = 0
    return [min(both) for both in zip(numbers, _spare_small(candidates), strict=True)]


def _spare_small(candidates: Sequence[Candidate]) -> list[int]:
    sizes = [c.sizes for c in candidates]
    zeros = sum(float(size[0] - size[1]) for size in sizes)
    numbers = allocate(sizes, [c.losses for c in candidates], sum(map(min, sizes)) + _SPARED * zeros)
    return numbers or [1] * len(candidates)


def allocate(costs: Sequence[Array], losses: Sequence[Array], budget: float) -> list[int] | None:
    """The choice for each layer with the least sum of losses whose costs are within the budget.

    `costs[i]` and `losses[i]` have an entry for each choice of layer i; costs are not negative. None when
    even the cheapest choices are beyond the budget.
    """
    prices = [_in_steps(cost, budget) for cost in costs]
    best = np.zeros(_STEPS + 1)  # the least loss of the layers so far, by what may be spent
    chosen = []
    for price, loss in zip(prices, losses, strict=True):
        best, choice = _add_layer(best, price, loss)
        chosen.append(choice)
    if not np.isfinite(best[_STEPS]):
        return None
    left, levels = _STEPS, []
    for price, choice in zip(reversed(prices), reversed(chosen), strict=True):
        levels.append(int(choice[left]))
        left -= int(price[levels[-1]])
    return levels[::-1]


def _in_steps(cost: Array, budget: float) -> NDArray[np.int64]:
    if budget <= 0:
        return np.where(cost > 0, _STEPS + 1, 0)
    return np.minimum(np.ceil(cost / budget * _STEPS - 1e-6), _STEPS + 1).astype(np.int64)


def _add_layer(best: Array, price: NDArray[np.int64], loss: Array) -> tuple[Array, NDArray[np.int64]]:
    """The least loss with one layer more, and the choice that gives it, by what may be spent."""
    sums = np.full((len(price), _STEPS + 1), np.inf)
    for number, (step, added) in enumerate(zip(price, loss, strict=True)):
        if step <= _STEPS:
            sums[number, step:] = best[: _STEPS + 1 - step] + added
    choice = sums.argmin(axis=0)
    return sums[choice, np.arange(_STEPS + 1)], choice
