"""Which model of the zoo a device should run: the best that keeps hard budgets.

Accuracy comes from the cards, latency and memory from the prediction for the device. What exceeds a budget
is out, what may exceed the one of latency comes last; of the rest the Pareto front is what a person would
choose from, and `prefer` says which end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekit.device import Device
from edgekit.errors import BudgetError, ModelError, UsageError
from edgekit.latency import ms_text, predict_file
from edgekit.zoo import TASKS, Card, ZooModel, list_models

_log = logging.getLogger("edgekit.select")
PREFERENCES = ("accuracy", "latency", "memory")
COLUMNS = ("model", "accuracy", "ms", "range", "memory MB", "tier", "front", "why not")


@dataclass(frozen=True)
class Wish:
    """What a model is wanted for and what it may cost; None is no limit. Raises UsageError."""

    task: str
    labels: tuple[str, ...] = ()
    latency_ms: float | None = None
    memory_mb: float | None = None
    accuracy: float | None = None
    prefer: str = "accuracy"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"task {self.task!r}: expected one of {', '.join(TASKS)}")
        if self.prefer not in PREFERENCES:
            raise UsageError(f"prefer {self.prefer!r}: expected one of {', '.join(PREFERENCES)}")
        for name, value in (("latency", self.latency_ms), ("memory", self.memory_mb)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"the {name} budget is {value:g}: expected a finite number above 0")
        if self.accuracy is not None and not 0 <= self.accuracy <= 1:
            raise UsageError(f"the least accuracy is {self.accuracy:g}: expected 0 to 1")


@dataclass(frozen=True)
class Candidate:
    """A model of the zoo on the device; `misses` says by how much it exceeds which budget, and `doubt` by how
    much it may exceed that of latency, which lies inside its range.
    """

    name: str
    accuracy: float
    latency_ms: float
    low_ms: float
    high_ms: float
    memory_mb: float
    tier: str
    gaps: str = ""  # what of its time the device's profile does not tell
    misses: tuple[str, ...] = ()
    doubt: str = ""
    on_front: bool = False

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            self.name, f"{self.accuracy:.3f}", ms_text(self.latency_ms),
            f"{ms_text(self.low_ms)}-{ms_text(self.high_ms)}", f"{self.memory_mb:.1f}", self.tier,
            "yes" if self.on_front else "", ", ".join(self.misses) or self.doubt,
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Selection:
    """All candidates: the preferred first of those that surely fit, then the fastest of those that may."""

    picked: Candidate
    candidates: tuple[Candidate, ...]


def select(wish: Wish, device: Device, models: Sequence[ZooModel] | None = None) -> Selection:
    """Pick a model for the device. The device's own memory for edgekit is a budget, too.

    Raises UsageError where no model has the task and labels, BudgetError with the nearest miss of each
    budget where none keeps them.
    """
    return pick(wish, device, candidates(wish, device, list_models() if models is None else models))


def pick(wish: Wish, device: Device, known: Sequence[Candidate]) -> Selection:
    """Of models whose figures on the device are known, for budgets of the wish. Raises BudgetError."""
    found = [judge(entry, wish, device) for entry in known]
    fitting = [entry for entry in found if not entry.misses]
    if not fitting:
        raise BudgetError(_nearest(found, wish, device))
    prefer = _order(wish.prefer)
    ranked = sorted(found, key=lambda entry: (bool(entry.misses), _risk(entry), prefer(entry)))
    shown = tuple(_on_front(entry, fitting) for entry in ranked)
    return Selection(shown[0], shown)


def _risk(entry: Candidate) -> float:
    """None for what surely fits; else the longer it may take the greater."""
    return entry.high_ms if entry.doubt else 0.0


def candidates(wish: Wish, device: Device, models: Sequence[ZooModel]) -> list[Candidate]:
    """All models that have the task and labels, with what each takes there and which budgets it misses.

    Raises UsageError where there is none or they do not compare, ModelError where the engine cannot run any.
    """
    suited = _comparable(wish, _suited(wish, models))
    found = [_candidate(entry, wish, device) for entry in suited]
    if not any(found):
        raise ModelError(f"no engine can run any of {', '.join(entry.name for entry in suited)}")
    return [entry for entry in found if entry is not None]


def accuracy_of(card: Card, labels: Sequence[str] = ()) -> float:
    """From 0 to 1: the mean AP50 of the labels, or the card's whole score; 0 where it tells none."""
    told = card.facts.get("accuracy") or {}
    by_class = told.get("per_class_ap50") or {}
    if labels and all(label in by_class for label in labels):
        return float(sum(by_class[label] for label in labels) / len(labels))
    keys = ("ap50", "map", "top1", "accuracy", "person_ap50")
    value = next((told[key] for key in keys if isinstance(told.get(key), int | float)), 0.0)
    return float(value) / (100 if value > 1 else 1)


def _suited(wish: Wish, models: Sequence[ZooModel]) -> list[ZooModel]:
    of_task = [entry for entry in models if entry.card.task == wish.task]
    suited = [entry for entry in of_task if set(wish.labels) <= set(entry.card.labels)]
    if suited:
        return suited
    known = sorted({label for entry in of_task for label in entry.card.labels})
    missing = [label for label in wish.labels if label not in known]
    what = f"knows {', '.join(missing)}" if missing else "knows all of these labels"
    hint = f": there are {', '.join(known[:20])}" if known else ""
    raise UsageError(f"no model of the zoo to {wish.task} {what}{hint}")


def _comparable(wish: Wish, suited: Sequence[ZooModel]) -> Sequence[ZooModel]:
    """Those whose accuracies say the same. Raises UsageError where the labels leave that open.

    Of detectors that is the accuracy on the labels; a classifier's also depends on what else it may say.
    """
    groups: dict[frozenset[str], list[ZooModel]] = {}
    for entry in suited:
        groups.setdefault(frozenset(entry.card.labels), []).append(entry)
    if len(groups) == 1 or (wish.task == "detect" and wish.labels):
        return suited
    if frozenset(wish.labels) in groups:
        return groups[frozenset(wish.labels)]
    told = "; ".join(", ".join(group[0].card.labels) for group in groups.values())
    raise UsageError(
        f"models to {wish.task} that tell different things apart cannot be ranked together: "
        f"give the labels of one kind ({told})"
    )


def _candidate(entry: ZooModel, wish: Wish, device: Device) -> Candidate | None:
    try:
        told = predict_file(entry.path, device, wish.threads)
    except ModelError as error:
        _log.warning("left out: %s", error)
        return None
    accuracy = accuracy_of(entry.card, wish.labels)
    found = Candidate(
        entry.name, accuracy, told.latency_ms, told.low_ms, told.high_ms, told.memory_mb, told.tier, told.gaps
    )
    return judge(found, wish, device)


def judge(entry: Candidate, wish: Wish, device: Device) -> Candidate:
    """The candidate with the budgets of the wish that it misses or may miss."""
    budget_ms, doubt = wish.latency_ms, ""
    if budget_ms is not None and entry.latency_ms <= budget_ms < entry.high_ms:
        doubt = f"may take {ms_text(entry.high_ms)} ms of {budget_ms:g}"
    return replace(entry, misses=tuple(_misses(entry, wish, device).values()), doubt=doubt)


def _misses(entry: Candidate, wish: Wish, device: Device) -> Mapping[str, str]:
    """What it takes and may take, by the name of the budget that this exceeds."""
    most_mb = _most_mb(wish, device)
    missed = {}
    if wish.latency_ms is not None and entry.latency_ms > wish.latency_ms:
        missed["latency"] = f"{ms_text(entry.latency_ms)} ms of {wish.latency_ms:g}"
    if entry.memory_mb > most_mb:
        missed["memory"] = f"{entry.memory_mb:.1f} MB of {most_mb:g}"
    if wish.accuracy is not None and entry.accuracy < wish.accuracy:
        missed["accuracy"] = f"accuracy {entry.accuracy:.3f} of {wish.accuracy:g}"
    return missed


def _most_mb(wish: Wish, device: Device) -> float:
    return min(wish.memory_mb or float("inf"), device.kit_memory_mb)


def _order(prefer: str) -> Any:
    """A key that sorts the preferred first; the other figures decide between equals."""
    orders = {
        "accuracy": lambda entry: (-entry.accuracy, entry.latency_ms, entry.memory_mb),
        "latency": lambda entry: (entry.latency_ms, -entry.accuracy, entry.memory_mb),
        "memory": lambda entry: (entry.memory_mb, -entry.accuracy, entry.latency_ms),
    }
    return orders[prefer]


def _on_front(entry: Candidate, fitting: Sequence[Candidate]) -> Candidate:
    """Marked if it fits and no other that fits is at least as good in all and better in one."""
    mine = _figures(entry)
    beaten = any(
        all(a <= b for a, b in zip(_figures(other), mine, strict=True)) and _figures(other) != mine
        for other in fitting
    )
    return replace(entry, on_front=not entry.misses and not beaten)


def _figures(entry: Candidate) -> tuple[float, float, float]:
    return (-entry.accuracy, entry.latency_ms, entry.memory_mb)


def _nearest(candidates: Sequence[Candidate], wish: Wish, device: Device) -> str:
    """One line: for each budget that stands in the way the model that misses it by least.

    A budget does where a model misses it and no other model misses less: only some of the same budgets.
    """
    missed = [(entry, _misses(entry, wish, device).keys()) for entry in candidates]
    close = [(entry, mine) for entry, mine in missed if not any(other < mine for _, other in missed)]
    told = []
    for budget in ("latency", "memory", "accuracy"):
        near = [entry for entry, mine in close if budget in mine]
        if near:
            told.append(_miss(budget, min(near, key=_order(budget)), wish, device))
    advice = "change one of these budgets" if len(told) > 1 else "change this budget"
    return f"no model fits on {device.name}; nearest to {'; '.join(told)}: {advice}"


def _miss(budget: str, entry: Candidate, wish: Wish, device: Device) -> str:
    """A budget and what the model that comes nearest to it takes."""
    if budget == "latency":
        return f"latency {wish.latency_ms:g} ms: {entry.name} takes {ms_text(entry.latency_ms)} ms"
    if budget == "accuracy":
        return f"accuracy {wish.accuracy:g}: {entry.name} has {entry.accuracy:.3f}"
    most_mb = _most_mb(wish, device)
    whose = "" if most_mb == wish.memory_mb else " (all that edgekit may have there)"
    return f"memory {most_mb:g} MB{whose}: {entry.name} takes {entry.memory_mb:.1f} MB"
