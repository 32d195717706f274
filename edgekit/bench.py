"""Measure models with any engine, side by side.

Machines change their speed while one looks: so all candidates take turns, in rounds, in an order that
changes, and are compared round by round. Reported are medians with the spread between the tenths.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import interpreter
from edgekit.engine import Engine, load
from edgekit.errors import UsageError
from edgekit.inference import find_file
from edgekit.tensors import random_inputs

COLUMNS = (
    "model",
    "engine",
    "threads",
    "ms",
    "p10-p90",
    "speed-up",
    "first ms",
    "load ms",
    "memory MB",
    "runs",
)
BATCH_S = 0.005  # a turn lasts about this long, or one run
MIN_ROUNDS = 5


@dataclass(frozen=True)
class Result:
    """What was measured of one model with one engine.

    Times are of one inference, in milliseconds: the median over the rounds, and what a tenth of the rounds
    stays below and above. `speed_up` is the median, round by round, of the time of the first candidate for
    the same model by the time of this one. `first_ms` is the first inference, `load_ms` the load before it.
    `memory_mb` is by how much the process grew with both, `estimated_mb` by how much it was expected to,
    `peak_rss_mb` how large it ever was.
    """

    model: str
    engine: str
    runtime: str
    threads: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    speed_up: float
    first_ms: float
    load_ms: float
    memory_mb: float
    estimated_mb: float
    peak_rss_mb: float
    runs: int

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        spread = f"{self.p10_ms:.3f}-{self.p90_ms:.3f}"
        return [
            self.model, f"{self.engine} ({self.runtime})", str(self.threads), f"{self.median_ms:.3f}", spread,
            f"{self.speed_up:.2f}x", f"{self.first_ms:.2f}", f"{self.load_ms:.1f}", f"{self.memory_mb:.1f}",
            str(self.runs),
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return asdict(self)


@dataclass(eq=False)
class _Candidate:
    model: str
    threads: int
    engine: Engine
    inputs: list[NDArray[Any]]
    load_ms: float
    first_ms: float
    memory_mb: float
    batch: int = 1
    spent_s: float = 0.0
    runs: int = 0
    rounds_ms: list[float] = field(default_factory=list)

    def turn(self, record: bool) -> None:
        start = time.perf_counter()
        for _ in range(self.batch):
            self.engine.run(self.inputs)
        taken_s = time.perf_counter() - start
        if record:
            self.spent_s += taken_s
            self.runs += self.batch
            self.rounds_ms.append(1000 * taken_s / self.batch)
        else:
            self.batch = max(1, min(10000, round(self.batch * BATCH_S / max(taken_s, 1e-7))))


def benchmark(
    paths: Sequence[str | Path],
    engines: Sequence[str] = ("auto",),
    threads: Sequence[int] = (1,),
    seconds: float = 2.0,
    warmup: float = 0.5,
) -> list[Result]:
    """Time every model with every engine and number of threads: `seconds` each, after `warmup` seconds each.

    `paths` are `.tflite` files or names of the zoo. Inputs are random but valid, the same for every engine.
    Raises UsageError when there is nothing to measure, ModelError when a model does not load.
    """
    if not paths or not engines or not threads or seconds <= 0 or warmup < 0:
        raise UsageError("benchmark: give a model, an engine and a positive duration")
    wanted = [(path, name, count) for path in paths for name in engines for count in threads]
    candidates = [_load(path, name, count) for path, name, count in wanted]
    _take_turns(candidates, warmup, record=False)
    _take_turns(candidates, seconds, record=True)
    return [_result(candidate, candidates) for candidate in candidates]


def _load(path: str | Path, name: str, threads: int) -> _Candidate:
    file, _ = find_file(path)
    if name != "native":
        interpreter.find_runtime()  # its import is no part of loading a model
    before_mb, start = _rss_mb(), time.perf_counter()
    engine = load(file, name, threads)
    loaded = time.perf_counter()
    inputs = random_inputs(engine.inputs)
    ready = time.perf_counter()
    engine.run(inputs)
    first_ms = 1000 * (time.perf_counter() - ready)
    grown_mb = max(0.0, _rss_mb() - before_mb)
    return _Candidate(str(path), threads, engine, inputs, 1000 * (loaded - start), first_ms, grown_mb)


def _take_turns(candidates: Sequence[_Candidate], seconds: float, *, record: bool) -> None:
    """Rounds in which each candidate has one turn, in a new order each time."""
    rng = np.random.default_rng(0)
    end = time.perf_counter() + seconds * len(candidates)
    rounds = 0
    while time.perf_counter() < end or (record and rounds < MIN_ROUNDS):
        rounds += 1
        for index in rng.permutation(len(candidates)):
            candidates[index].turn(record)


def _result(candidate: _Candidate, candidates: Sequence[_Candidate]) -> Result:
    rounds = np.array(candidate.rounds_ms)
    first = next(other for other in candidates if other.model == candidate.model)
    low, median, high = (float(value) for value in np.percentile(rounds, [10, 50, 90]))
    return Result(
        model=candidate.model,
        engine=candidate.engine.name,
        runtime=getattr(candidate.engine, "runtime", ""),
        threads=candidate.threads,
        median_ms=median,
        p10_ms=low,
        p90_ms=high,
        speed_up=float(np.median(np.array(first.rounds_ms) / rounds)),
        first_ms=candidate.first_ms,
        load_ms=candidate.load_ms,
        memory_mb=candidate.memory_mb,
        estimated_mb=candidate.engine.peak_memory_bytes / 2**20,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        runs=candidate.runs,
    )


def _rss_mb() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * resource.getpagesize() / 2**20
