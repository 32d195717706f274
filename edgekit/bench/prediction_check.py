"""Predicted and measured, side by side: how far predictions of this machine are off, network by network.

What predictions are made of is probed in turns with the networks: else a machine that was faster or slower in
that minute than in this would tell of itself, not of the predictions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import model, plan
from edgekit.bench.probing import Probe
from edgekit.device import Device
from edgekit.device.calibration import Calibration
from edgekit.device.speeds import calibration_of
from edgekit.engine import NativeEngine
from edgekit.errors import ModelError
from edgekit.latency import predict_plan
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs

COLUMNS = ("model", "level", "threads", "predicted ms", "range", "measured ms", "error")
ROUNDS = 4  # through all networks, so that a slow minute of the machine is no network's fate
PROBE_S = 5.0  # for each level
LONG_MS = 1.0  # shorter runs find a moment in which nothing disturbs them


@dataclass(frozen=True)
class Compared:
    """A network at an ISA level with so many threads: milliseconds as predicted, and the least measured."""

    model: str
    level: str
    threads: int
    predicted_ms: float
    low_ms: float
    high_ms: float
    measured_ms: float

    @property
    def in_range(self) -> bool:
        return self.low_ms <= self.measured_ms <= self.high_ms

    @property
    def error(self) -> float:
        return self.predicted_ms / self.measured_ms - 1

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            self.model, self.level, str(self.threads), f"{self.predicted_ms:.3f}",
            f"{self.low_ms:.3f}-{self.high_ms:.3f}", f"{self.measured_ms:.3f}", f"{self.error:+.0%}",
        ]  # fmt: skip


def compare(
    paths: Sequence[Path], device: Device, levels: Sequence[str], threads: Sequence[int],
    seconds: float = 0.5, told: Callable[[str], None] = lambda _: None, *, anew: bool = False,
) -> list[Compared]:  # fmt: skip
    """All networks that the native engine runs, each for about `seconds` a level; what it lacks is told.

    The costs are those of the device's profile, or probed `anew`.
    """
    probes = {level: Probe(level) for level in levels if anew}
    timed = [_Timed(name, graph, level, threads) for name, graph in _graphs(paths, told) for level in levels]
    for _ in range(ROUNDS):
        for probe in probes.values():
            probe.work(PROBE_S / ROUNDS)
        for one in timed:
            one.turn(seconds / ROUNDS)
    found = {level: probe.learnt().calibration for level, probe in probes.items()}
    known = {level: found.get(level) or calibration_of(device, level) for level in levels}
    return [line for one in timed for line in one.compared(device, known[one.level])]


def _graphs(paths: Sequence[Path], told: Callable[[str], None]) -> Iterator[tuple[str, Graph]]:
    for path in paths:
        try:
            graph = plan.prepare(model.read(path))
            reason = plan.refusal(graph)
        except ModelError as error:
            reason = str(error)
        if reason:
            told(f"{path.name}: left out: {reason}")
        else:
            yield (path.stem if path.stem != "model" else "/".join(path.parts[-3:-1])), graph


class _Timed:
    """A network at a level, with each number of threads: the least times of its whole and of its steps."""

    def __init__(self, name: str, graph: Graph, level: str, threads: Sequence[int]) -> None:
        self.name, self.level, self._graph = name, level, graph
        self._engines = {count: NativeEngine(graph, count, isa=level) for count in threads}
        self._inputs = random_inputs(self._engines[threads[0]].inputs)
        self._whole_ms = dict.fromkeys(threads, float("inf"))
        self._steps_s = {n: np.full(len(engine.plan.steps), np.inf) for n, engine in self._engines.items()}

    def turn(self, seconds: float) -> None:
        """Some runs, the numbers of threads one after another."""
        end = time.perf_counter() + seconds
        while True:
            for count, engine in self._engines.items():
                start = time.perf_counter()
                engine.run(self._inputs)
                self._whole_ms[count] = min(self._whole_ms[count], 1e3 * (time.perf_counter() - start))
                np.minimum(self._steps_s[count], engine.profile(self._inputs), out=self._steps_s[count])
            if time.perf_counter() >= end:
                break

    def compared(self, device: Device, calibration: Calibration) -> list[Compared]:
        """Predicted and measured, a line for each number of threads."""
        told = {
            n: predict_plan(self._graph, e.plan, device, n, calibration) for n, e in self._engines.items()
        }
        return [
            Compared(self.name, self.level, n, one.latency_ms, one.low_ms, one.high_ms, self._ms(n))
            for n, one in told.items()
        ]

    def _ms(self, count: int) -> float:
        """On a busy machine no run of a large network is undisturbed: the least times of its steps add up."""
        whole, steps = self._whole_ms[count], 1e3 * float(self._steps_s[count].sum())
        return min(whole, steps) if whole > LONG_MS else whole


def summary(compared: Sequence[Compared]) -> str:
    """The median and the worst of the relative errors, and how many ranges hold."""
    errors = np.abs([line.error for line in compared])
    return (
        f"{len(errors)} predictions, median error {np.median(errors):.1%}, worst {errors.max():.1%}; "
        f"{sum(line.in_range for line in compared)} were within their ranges"
    )
