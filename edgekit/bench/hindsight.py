"""What a choice costs: the model that `select` picks beside the best that would have fitted in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from edgekit.bench.sustained import measure
from edgekit.device import Device
from edgekit.errors import BudgetError
from edgekit.select import Candidate, Wish, candidates, pick
from edgekit.zoo import ZooModel, list_models

COLUMNS = (
    "budget ms", "picked", "accuracy", "predicted", "measured", "kept", "best in hindsight", "accuracy",
    "cost",
)  # fmt: skip
NONE = "none"


@dataclass(frozen=True)
class Hindsight:
    """One budget: what was picked by prediction, and the most accurate model that measured keeps it.

    None where no model was thought to fit, or none does. `cost` is the accuracy that the choice gave away.
    """

    budget_ms: float
    picked: Candidate | None
    measured_ms: float | None
    best: Candidate | None

    @property
    def kept(self) -> bool:
        """Whether what was picked keeps the budget; also where nothing was."""
        return self.measured_ms is None or self.measured_ms <= self.budget_ms

    @property
    def cost(self) -> float:
        """Of a model that breaks the budget nothing counts."""
        own = self.picked.accuracy if self.picked and self.kept else 0.0
        return (self.best.accuracy if self.best else 0.0) - own

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        mine = ["", "", "", ""]
        if self.picked and self.measured_ms is not None:
            mine = [
                f"{self.picked.accuracy:.3f}", f"{self.picked.latency_ms:.3f}", f"{self.measured_ms:.3f}",
                "yes" if self.kept else "no",
            ]  # fmt: skip
        best = [self.best.name, f"{self.best.accuracy:.3f}"] if self.best else [NONE, ""]
        name = self.picked.name if self.picked else NONE
        return [f"{self.budget_ms:.3g}", name, *mine, *best, f"{self.cost:.3f}"]


def hindsight(
    wish: Wish, device: Device, seconds: float, models: Sequence[ZooModel] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Hindsight]:  # fmt: skip
    """Measure all models that suit the wish, each for so long; then choose for its budget of latency.

    A wish without one gets budgets below, between and above what the models take here. Raises what
    `select` does.
    """
    known = list_models() if models is None else models
    free = candidates(replace(wish, latency_ms=None), device, known)
    paths = {entry.name: entry.path for entry in known}
    times = {}
    for candidate in free:
        told(f"{candidate.name}: measured for {seconds:g} s")
        times[candidate.name] = measure(paths[candidate.name], wish.threads, seconds).sustained_ms
    budgets = [wish.latency_ms] if wish.latency_ms else _budgets(sorted(times.values()))
    return [_one(replace(wish, latency_ms=budget), budget, device, free, times) for budget in budgets]


def _budgets(times_ms: Sequence[float]) -> list[float]:
    """So that each model is the best one for some budget, and some are tight."""
    between = [(low * high) ** 0.5 for low, high in pairwise(times_ms)]
    return [0.9 * times_ms[0], *sorted([*between, *(1.1 * ms for ms in times_ms), 2 * times_ms[-1]])]


def _one(
    wish: Wish, budget_ms: float, device: Device, free: Sequence[Candidate], times: Mapping[str, float]
) -> Hindsight:
    fitting = [entry for entry in free if not entry.misses and times[entry.name] <= budget_ms]
    best = max(fitting, key=lambda entry: entry.accuracy, default=None)
    try:
        picked = pick(wish, device, free).picked
    except BudgetError:
        return Hindsight(budget_ms, None, None, best)
    return Hindsight(budget_ms, picked, times[picked.name], best)


def summary(found: Sequence[Hindsight]) -> str:
    """How often budgets were kept, and what the choices cost."""
    kept = sum(one.kept for one in found)
    costs = [one.cost for one in found]
    return (
        f"{len(found)} budgets, {kept} kept; accuracy given away: {sum(costs) / len(costs):.3f} on average, "
        f"{max(costs):.3f} at most"
    )
