"""Times this machine's kernels on synthetic networks and learns a Calibration for each ISA level."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit import plan
from edgekit.bench import probe_nets, rates
from edgekit.bench.rates import Rates, Sustained
from edgekit.device import calibration, machine
from edgekit.device.calibration import Calibration
from edgekit.device.work import work_of
from edgekit.engine import NativeEngine, native_levels
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs

SPREAD = (5, 95)  # percentiles of what nets of the probe took against what was predicted
RANKS = 8
SMALL = 4
TURN_S, MAX_RUNS = 0.01, 30
THREADS = (1, 2)
SLOW_LEVELS, SHRUNK = ("scalar",), 2


@dataclass(frozen=True)
class Probed:
    """What was learnt of one ISA level: what work costs, and what kernels reach."""

    calibration: Calibration
    rates: Rates


def probe(seconds: float = 16.0, levels: tuple[str, ...] = ()) -> tuple[dict[str, Probed], Sustained]:
    """Of each ISA level that this CPU can run, in about that many seconds; and how the machine bore it."""
    wanted = levels or native_levels()
    end = time.perf_counter() + seconds
    reference = rates.Reference(wanted[-1])
    found: dict[str, Probed] = {}
    for level in wanted:
        one = Probe(level)
        one.work((end - time.perf_counter()) / (len(wanted) - len(found)))
        found[level] = one.learnt()
    return found, reference.sustained()


class Timed:
    """One synthetic network: the least times of its steps and of its whole, with one thread and with two."""

    def __init__(self, graph: Graph, engine: NativeEngine) -> None:
        self.graph, self.engine = graph, engine
        self.inputs = random_inputs(engine.inputs)
        self.works = [work_of(step, engine.level) for step in engine.plan.steps]
        self.steps_s = np.full(len(self.works), np.inf)
        self._shared_s = self.steps_s.copy()
        self.whole_s = dict.fromkeys(THREADS, np.inf)

    def turn(self) -> None:
        """Some runs in a row: a network that runs for hours finds its weights in the caches."""
        end = time.perf_counter() + TURN_S
        for run in range(MAX_RUNS):
            if run and time.perf_counter() > end:
                break
            for threads, least in zip(THREADS, (self.steps_s, self._shared_s), strict=True):
                self.engine.threads = threads
                np.minimum(least, self.engine.profile(self.inputs), out=least)
                start = time.perf_counter()
                self.engine.run(self.inputs)
                self.whole_s[threads] = min(self.whole_s[threads], time.perf_counter() - start)

    def shared_s(self, run_s: float) -> float:
        """With two threads. On a busy machine hardly a run is undisturbed, but now and then each step is."""
        return min(self.whole_s[2], float(self._shared_s.sum()) + run_s)


class Probe:
    """The networks of one ISA level, which are timed in turns."""

    def __init__(self, level: str) -> None:
        self.level = level
        self.nets = list(_nets(level))
        self._untimed = len(self.nets)

    def work(self, seconds: float) -> None:
        """Time them for so long, and longer if it takes longer until each had a turn."""
        end = time.perf_counter() + seconds
        while self._untimed > 0 or time.perf_counter() < end:
            net = self.nets.pop(0)
            net.turn()
            self.nets.append(net)
            self._untimed -= 1

    def learnt(self) -> Probed:
        """What the times say so far."""
        return Probed(learn(self.level, self.nets), rates.rates_of(self.nets))


def _nets(level: str) -> Iterator[Timed]:
    """Each with the kernels that are thought to be the best, then with any: other shapes get those."""
    for drawn in probe_nets.probe_nets(SHRUNK if level in SLOW_LEVELS else 1):
        graph = plan.prepare(drawn)
        yield Timed(graph, NativeEngine(graph, isa=level))
        if any(op.kind == "CONV_2D" for op in graph.ops):
            yield Timed(graph, NativeEngine(graph, isa=level, ranks=_any_ranks(graph)))


def _any_ranks(graph: Graph) -> dict[int, int]:
    drawn = np.random.default_rng(len(graph.ops)).integers(0, RANKS, len(graph.ops))
    return {number: int(rank) for number, rank in enumerate(drawn)}


def learn(level: str, nets: Sequence[Timed]) -> Calibration:
    """What the times of the networks say that work costs."""
    works = [work for net in nets for work in net.works]
    steps_us = [1e6 * float(step) for net in nets for step in net.steps_s]
    fitted = calibration.fit(level, works, steps_us)
    return _with_spread(_with_threads(_with_run(fitted, nets), nets), nets)


def copy_gbps(size_bytes: int = 8 * 2**20, runs: int = 40) -> float:
    """10^9 bytes a second that one core copies, of a block that no second cache holds."""
    source, target = np.ones(size_bytes, np.uint8), np.zeros(size_bytes, np.uint8)
    least = np.inf
    for _ in range(runs):
        start = time.perf_counter()
        np.copyto(target, source)
        least = min(least, time.perf_counter() - start)
    return float(1e-9 * size_bytes / least)


def _with_run(fitted: Calibration, nets: Sequence[Timed]) -> Calibration:
    """What an inference costs beside its steps, from the small networks, whose whole runs undisturbed."""
    small = sorted(nets, key=lambda net: net.whole_s[1])[:SMALL]
    rest = [1e6 * float(net.whole_s[1] - net.steps_s.sum()) for net in small]
    return replace(fitted, run_us=max(0.0, float(np.median(rest))))


def _with_threads(fitted: Calibration, nets: Sequence[Timed]) -> Calibration:
    """How much of a second thread is lost, and what it costs to wake it, from whole runs."""
    if machine.usable_threads() == 1:
        return fitted
    rows = [_threads_row(fitted, net) for net in nets]
    matrix, goal = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    loss, sync_us = calibration.nonnegative(matrix, goal)
    return replace(fitted, thread_loss=max(1.0, float(loss)), sync_us=float(sync_us))


def _threads_row(found: Calibration, net: Timed) -> tuple[float, float, float]:
    """The shares of a network with two threads, its orders, and what they are to cost: by its time."""
    shares = orders = rest = 0.0
    for work in net.works:
        alone = found.compute_us(work)
        if work.shared and work.units > 1:
            shares, orders = shares + alone * -(-work.units // 2) / work.units, orders + 1
        else:
            rest += alone
    whole_us = 1e6 * net.shared_s(1e-6 * found.run_us)
    return shares / whole_us, orders / whole_us, 1 - (rest + found.run_us) / whole_us


def _with_spread(fitted: Calibration, nets: Sequence[Timed]) -> Calibration:
    """How far predictions are from what the networks took."""
    ratios = [
        1e6 * least / (fitted.run_us + sum(fitted.compute_us(work, threads) for work in net.works))
        for net in nets for threads, least in net.whole_s.items()
    ]  # fmt: skip
    low, high = np.percentile(ratios, SPREAD)
    return replace(fitted, low=min(0.95, float(low)), high=max(1.05, float(high)))
