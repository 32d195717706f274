"""What work costs on a device: nanoseconds an amount, by kind of work; learnt by timing, or modelled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.device.work import OTHER, Work

SWEEPS = 400  # of the fit, through all coefficients
GUESS_LOW, GUESS_HIGH = 0.25, 4.0  # what may become of a kind of work of which nothing is known

Basis: TypeAlias = Literal["profile", "modelled", "guessed"]


@dataclass(frozen=True)
class Calibration:
    """Of one ISA level on one device.

    `costs_ns` has for each kind of work the cost of each of its amounts, and as the last one that of a step.
    `run_us` is the cost of an inference beside its steps. With two threads a shared step takes its share of
    units times `thread_loss` (1: none, and each further thread loses as much) and `sync_us`. `low` and `high`
    are factors that nine in ten predictions lie between, if threads lose no more than `most_loss`. `stand_in`
    is asked for kinds of work that are not in `costs_ns`.
    """

    level: str
    costs_ns: Mapping[str, tuple[float, ...]]
    run_us: float = 0.0
    thread_loss: float = 1.0
    sync_us: float = 0.0
    low: float = 0.8
    high: float = 1.25
    fallback_ns: float = field(default=2.0)  # a number of a step of a kind that nobody knows
    stand_in: Calibration | None = None
    most_loss: float = 1.0  # 2: the second thread may gain nothing

    def at_worst(self) -> Calibration:
        """With as much of each thread lost as may be."""
        return replace(self, thread_loss=max(self.thread_loss, self.most_loss))

    def basis(self, work: Work) -> Basis:
        """How the costs of such work are known."""
        if self.knows(work):
            return "profile"
        return "modelled" if self.stand_in and self.stand_in.knows(work) else "guessed"

    def span(self, work: Work) -> tuple[float, float]:
        """The factors that the time of such work lies between."""
        if self.knows(work):
            return self.low, self.high
        if self.stand_in and self.stand_in.knows(work):
            return min(self.low, self.stand_in.low), max(self.high, self.stand_in.high)
        return GUESS_LOW, GUESS_HIGH

    def knows(self, work: Work) -> bool:
        """Whether it has costs of its own for such work."""
        return len(self.costs_ns.get(work.kind, ())) == len(work.amounts) + 1

    def compute_us(self, work: Work, threads: int = 1) -> float:
        """Microseconds of a step's work by the kernels, without waiting for memory."""
        basis = self.basis(work)
        if basis == "guessed":
            return 1e-3 * self.fallback_ns * max(1.0, sum(work.amounts))
        source = self.stand_in if basis == "modelled" and self.stand_in else self
        costs = source.costs_ns[work.kind]
        alone = 1e-3 * sum(c * a for c, a in zip(costs, (*work.amounts, 1.0), strict=True))
        if threads == 1 or work.units == 1 or not work.shared:
            return alone
        loss = 1 + (self.thread_loss - 1) * (threads - 1)
        return alone * loss * -(-work.units // threads) / work.units + self.sync_us


def fit(level: str, works: Sequence[Work], times_us: Sequence[float]) -> Calibration:
    """The calibration under which the works take those times with one thread, with least relative errors."""
    rows: dict[str, list[tuple[tuple[float, ...], float]]] = defaultdict(list)
    for work, time_us in zip(works, times_us, strict=True):
        rows[work.kind].append(((*work.amounts, 1.0), 1e3 * time_us))
    costs = {kind: _least(samples) for kind, samples in rows.items() if kind != OTHER}
    return Calibration(level, costs)


def _least(samples: Sequence[tuple[tuple[float, ...], float]]) -> tuple[float, ...]:
    amounts = np.array([sample[0] for sample in samples])
    times = np.array([max(sample[1], 1.0) for sample in samples])
    return tuple(float(c) for c in nonnegative(amounts / times[:, None], np.ones(len(times))))


def nonnegative(matrix: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 with the least squares of matrix @ x - goal, by descent along the axes."""
    scale = np.maximum(np.sqrt((matrix**2).sum(axis=0)), 1e-30)
    scaled = matrix / scale
    gram, toward = scaled.T @ scaled, scaled.T @ goal
    found = np.zeros(len(toward))
    for _ in range(SWEEPS):
        for i in range(len(found)):
            found[i] = max(0.0, found[i] + toward[i] - gram[i] @ found)
    return np.asarray(found / scale * (matrix.any(axis=0)))
