"""What a network takes on a device that need not be here: time, file and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgekit import latency, model, plan, zoo
from edgekit.device import Device
from edgekit.model.graph import Graph


@dataclass(frozen=True)
class Forecast:
    """Milliseconds on one core, their range, how they are known; bytes of the process at its peak, and those
    of the packed weights.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    tier: str
    memory_bytes: int
    weight_bytes: int


def forecast(graph: Graph, device: Device) -> Forecast:
    """Of a network as its file has it. ModelError when the native engine does not run it."""
    prepared = plan.prepare(graph)
    told = latency.predict(prepared, device)
    weights = plan.build(prepared, told.isa).constant_bytes
    return Forecast(told.latency_ms, told.low_ms, told.high_ms, told.tier, told.memory_bytes, weights)


@dataclass(frozen=True)
class Place:
    """Where a model of the zoo stands on a device; `is_best` when no other is both faster and better.

    Only those of one `group` compare: the same task, the same metric, the same labels.
    """

    model: str
    task: str
    metric: str
    accuracy: float
    latency_ms: float
    memory_bytes: int
    is_best: bool = False
    labels: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[str, str, tuple[str, ...]]:
        return self.task, self.metric, self.labels


METRICS = ("person_ap50", "map", "ap50", "top1", "accuracy")


def pareto(device: Device, progress: Callable[[str], None] = lambda _: None) -> list[Place]:
    """The zoo's models whose cards tell an accuracy, fastest first; fronts are by group."""
    places = []
    for found in zoo.list_models():
        facts = found.card.facts.get("accuracy") or {}
        metric = next((name for name in METRICS if isinstance(facts.get(name), int | float)), None)
        if metric is None:
            continue
        progress(f"the zoo on {device.name}: {found.name}")
        told = forecast(model.read(found.path), device)
        places.append(
            Place(
                found.name, found.card.task, metric, facts[metric], told.latency_ms, told.memory_bytes,
                labels=found.card.labels,
            )
        )  # fmt: skip
    return front(places)


def front(places: Sequence[Place]) -> list[Place]:
    """The places in order of latency, each told whether it is on the front of its group."""
    best: dict[object, float] = {}
    told = []
    for place in sorted(places, key=lambda p: (p.latency_ms, -p.accuracy)):
        is_best = place.accuracy > best.get(place.group, -1.0)
        best[place.group] = max(place.accuracy, best.get(place.group, -1.0))
        told.append(replace(place, is_best=is_best))
    return told
