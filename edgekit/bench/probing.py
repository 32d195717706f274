"""Times this machine's kernels on synthetic networks and learns a Calibration for each ISA level."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from edgekit import plan
from edgekit.bench import probe_nets
from edgekit.device import calibration, machine
from edgekit.device.calibration import Calibration
from edgekit.device.work import work_of
from edgekit.engine import NativeEngine, native_levels
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs

SPREAD = (5, 95)  # percentiles of what nets of the probe took against what was predicted
RANKS = 8
SMALL = 4
TURN_S, MAX_RUNS, WHOLE_RUNS = 0.01, 50, 3


def calibrate(seconds: float = 16.0, levels: tuple[str, ...] = ()) -> dict[str, Calibration]:
    """A calibration for each ISA level that this CPU can run, in about that many seconds."""
    wanted = levels or native_levels()
    return {level: _calibrate(level, seconds / len(wanted)) for level in wanted}


class _Timed:
    """One synthetic network: the least times of its steps with one thread and with two, and of its whole."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self.inputs = random_inputs(engine.inputs)
        self.works = [work_of(step, engine.level) for step in engine.plan.steps]
        self.steps_s = {threads: np.full(len(self.works), np.inf) for threads in (1, 2)}
        self.whole_s = np.inf

    def turn(self) -> None:
        """Some runs in a row: a network that runs for hours finds its weights in the caches."""
        end = time.perf_counter() + TURN_S
        for run in range(MAX_RUNS):
            if run and time.perf_counter() > end:
                break
            for threads, least in self.steps_s.items():
                self.engine.threads = threads
                np.minimum(least, self.engine.profile(self.inputs), out=least)
        self.engine.threads = 1
        for _ in range(min(run, WHOLE_RUNS)):
            start = time.perf_counter()
            self.engine.run(self.inputs)
            self.whole_s = min(self.whole_s, time.perf_counter() - start)


def _calibrate(level: str, seconds: float) -> Calibration:
    end = time.perf_counter() + seconds
    graphs = [plan.prepare(graph) for graph in probe_nets.probe_nets()]
    nets = [_Timed(NativeEngine(graph, isa=level, ranks=_ranks(graph, turn)))
            for graph in graphs for turn in (0, 1)
            if turn == 0 or "CONV_2D" in {op.kind for op in graph.ops}]  # fmt: skip
    for net in nets:
        net.turn()
    while time.perf_counter() < end:
        next_net = nets.pop(0)
        next_net.turn()
        nets.append(next_net)
    works = [work for net in nets for work in net.works]
    steps_us = [1e6 * float(step) for net in nets for step in net.steps_s[1]]
    fitted = calibration.fit(level, works, steps_us)
    return _with_spread(_with_threads(_with_run(fitted, nets), nets), nets)


def _ranks(graph: Graph, turn: int) -> dict[int, int]:
    """First the kernels that are thought to be the best, then any: nets of other shapes get those."""
    drawn = np.random.default_rng(len(graph.ops)).integers(0, RANKS, len(graph.ops))
    return {number: int(rank) for number, rank in enumerate(drawn)} if turn else {}


def copy_gbps(size_bytes: int = 8 * 2**20, runs: int = 40) -> float:
    """10^9 bytes a second that one core copies, of a block that no second cache holds."""
    source, target = np.ones(size_bytes, np.uint8), np.zeros(size_bytes, np.uint8)
    least = np.inf
    for _ in range(runs):
        start = time.perf_counter()
        np.copyto(target, source)
        least = min(least, time.perf_counter() - start)
    return float(1e-9 * size_bytes / least)


def _with_run(fitted: Calibration, nets: list[_Timed]) -> Calibration:
    """What an inference costs beside its steps, from the small networks, whose whole runs undisturbed."""
    small = sorted(nets, key=lambda net: net.whole_s)[:SMALL]
    rest = [1e6 * float(net.whole_s - net.steps_s[1].sum()) for net in small]
    return replace(fitted, run_us=max(0.0, float(np.median(rest))))


def _with_threads(fitted: Calibration, nets: list[_Timed]) -> Calibration:
    """How much of a second thread is lost, and what it costs to wake it."""
    if machine.usable_threads() == 1:
        return fitted
    pairs = [
        (1e6 * alone * -(-work.units // 2) / work.units, 1e6 * both)
        for net in nets
        for work, alone, both in zip(net.works, net.steps_s[1], net.steps_s[2], strict=True)
        if work.units > 1
    ]
    shares, goals = np.array(pairs).T
    matrix = np.array([shares, np.ones(len(shares))]).T / goals[:, None]
    loss, sync_us = calibration.nonnegative(matrix, np.ones(len(goals)))
    return replace(fitted, thread_loss=max(1.0, float(loss)), sync_us=float(sync_us))


def _with_spread(fitted: Calibration, nets: list[_Timed]) -> Calibration:
    """How far sums of predictions are from what the networks took."""
    ratios = [
        1e6 * least.sum() / sum(fitted.compute_us(work, threads) for work in net.works)
        for net in nets for threads, least in net.steps_s.items()
    ]  # fmt: skip
    low, high = np.percentile(ratios, SPREAD)
    return replace(fitted, low=min(0.95, float(low)), high=max(1.05, float(high)))
