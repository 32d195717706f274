"""Predicted and measured, side by side: how far predictions of this machine are off, network by network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import model, plan
from edgekit.device import Device
from edgekit.device.calibration import Calibration
from edgekit.engine import NativeEngine
from edgekit.errors import ModelError
from edgekit.latency import predict_plan
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs

COLUMNS = ("model", "level", "threads", "predicted ms", "measured ms", "error")
MIN_RUNS = 5
LONG_MS = 1.0  # shorter runs find a moment in which nothing disturbs them


@dataclass(frozen=True)
class Compared:
    """A network at an ISA level with so many threads: milliseconds as predicted, and the least measured."""

    model: str
    level: str
    threads: int
    predicted_ms: float
    measured_ms: float

    @property
    def error(self) -> float:
        return self.predicted_ms / self.measured_ms - 1

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            self.model, self.level, str(self.threads), f"{self.predicted_ms:.3f}", f"{self.measured_ms:.3f}",
            f"{self.error:+.0%}",
        ]  # fmt: skip


def compare(
    paths: Sequence[Path], device: Device, levels: Mapping[str, Calibration], threads: Sequence[int],
    seconds: float = 0.5, told: Callable[[str], None] = lambda _: None,
) -> list[Compared]:  # fmt: skip
    """All networks that the native engine runs, each for about `seconds` a level; what it lacks is told."""
    found = []
    for path in paths:
        try:
            graph = plan.prepare(model.read(path))
            reason = plan.refusal(graph)
        except ModelError as error:
            reason = str(error)
        if reason:
            told(f"{path.name}: left out: {reason}")
            continue
        name = path.stem if path.stem != "model" else "/".join(path.parts[-3:-1])
        for calibration in levels.values():
            found += _compare(name, graph, device, calibration, threads, seconds)
    return found


def _compare(
    name: str, graph: Graph, device: Device, calibration: Calibration, threads: Sequence[int], seconds: float
) -> list[Compared]:
    engines = {count: NativeEngine(graph, count, isa=calibration.level) for count in threads}
    least = _least_ms(engines, seconds)
    return [
        Compared(
            name, calibration.level, count,
            predict_plan(graph, engine.plan, device, count, calibration).latency_ms, least[count],
        )
        for count, engine in engines.items()
    ]  # fmt: skip


def _least_ms(engines: Mapping[int, NativeEngine], seconds: float) -> dict[int, float]:
    """Taking turns, so that a slow moment of the machine is one for all.

    On a busy machine no run of a large network is undisturbed: then the least times of its steps add up.
    """
    inputs = random_inputs(next(iter(engines.values())).inputs)
    least = dict.fromkeys(engines, float("inf"))
    steps = {count: np.full(len(engine.plan.steps), np.inf) for count, engine in engines.items()}
    end, runs = time.perf_counter() + seconds, 0
    while runs < MIN_RUNS or time.perf_counter() < end:
        runs += 1
        for count, engine in engines.items():
            start = time.perf_counter()
            engine.run(inputs)
            least[count] = min(least[count], 1e3 * (time.perf_counter() - start))
            steps[count] = np.minimum(steps[count], engine.profile(inputs))
    return {
        count: min(ms, 1e3 * float(steps[count].sum())) if ms > LONG_MS else ms for count, ms in least.items()
    }


def summary(compared: Sequence[Compared]) -> str:
    """The median and the worst of the relative errors."""
    errors = np.abs([line.error for line in compared])
    return f"{len(errors)} predictions, median error {np.median(errors):.1%}, worst {errors.max():.1%}"
