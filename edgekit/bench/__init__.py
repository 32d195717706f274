"""Measure models with any engine, side by side.

Machines change their speed while one looks: so all candidates take turns, in rounds, in an order that
changes, and are compared round by round. Reported are medians with the spread between the tenths. Each
candidate runs in a process of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from edgekit import engine
from edgekit.bench.child import Child
from edgekit.bench.networks import FORMATS, Network, find_network
from edgekit.bench.result import COLUMNS, LAYER_COLUMNS, Benchmark, Ratio, Result, Skipped, spread
from edgekit.bench.rivals import RIVALS, Layer, is_installed
from edgekit.device import machine
from edgekit.errors import BudgetError, EdgekitError, MissingExtraError, ModelError, UsageError
from edgekit.plan import costs

__all__ = ["COLUMNS", "ENGINES", "LAYER_COLUMNS", "Benchmark", "Ratio", "Result", "Settings", "benchmark"]

ENGINES = tuple(FORMATS)
BATCH_S = 0.01  # a turn lasts about this long, or one run
MIN_ROUNDS = 5
SPARE_MB = 64  # of memory, that no candidate may touch


@dataclass(eq=False)
class _Candidate:
    network: Network
    engine: str
    threads: int
    child: Child
    batch: int = 1
    runs: int = 0
    rounds_ms: list[float] = field(default_factory=list)

    def turn(self, *, record: bool) -> None:
        taken_s = self.child.turn(self.batch)
        if record:
            self.runs += self.batch
            self.rounds_ms.append(1000 * taken_s / self.batch)
        else:
            self.batch = max(1, min(10000, round(self.batch * BATCH_S / max(taken_s, 1e-7))))


@dataclass(frozen=True)
class Settings:
    """How to measure: seconds for each candidate, after a warm-up; `seed` sets the order of the turns."""

    seconds: float = 2.0
    warmup: float = 0.5
    seed: int = 0
    profile: bool = False

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.warmup < 0 or self.seed < 0:
            raise UsageError("benchmark: give a positive duration, no negative warm-up and no negative seed")


def benchmark(
    models: Sequence[str | Path],
    engines: Sequence[str] = ("auto",),
    threads: Sequence[int] = (1,),
    isas: Sequence[str | None] = (None,),
    settings: Settings = Settings(),
) -> Benchmark:
    """Time every model with every engine, number of threads and, for `native`, ISA level.

    `models` are files, names of the zoo, or files of one network in several formats joined by `=`. What a
    rival cannot do is skipped and told as long as some engine runs the model. Raises UsageError when there
    is nothing to measure or a level is not there, ModelError when no engine runs a model, BudgetError when
    the candidates do not fit the memory together.
    """
    if not models or not engines or not threads or not isas:
        raise UsageError("benchmark: give a model, an engine and a number of threads")
    _check(engines, isas)
    networks = [find_network(str(text)) for text in models]
    candidates: list[_Candidate] = []
    skipped: dict[Skipped, None] = {}
    try:
        for network in networks:
            candidates += _load(network, _wanted(engines, threads, isas), skipped)
        _take_turns(candidates, settings.warmup, settings.seed, record=False)
        _take_turns(candidates, settings.seconds, settings.seed, record=True)
        layers = [candidate.child.layers() if settings.profile else [] for candidate in candidates]
        results = [_result(c, candidates, told) for c, told in zip(candidates, layers, strict=True)]
    finally:
        _close(candidates)
    return Benchmark(asdict(settings), tuple(results), tuple(_ratios(candidates)), tuple(skipped))


def _close(candidates: Sequence[_Candidate]) -> None:
    for candidate in candidates:
        candidate.child.close()


def _check(engines: Sequence[str], isas: Sequence[str | None]) -> None:
    if unknown := set(engines) - set(ENGINES):
        raise UsageError(f"--engine {min(unknown)}: expected one of {', '.join(ENGINES)}")
    here = engine.native_levels()
    for isa in isas:
        if isa is not None and isa not in here:
            known = "this CPU cannot run it" if isa in costs.UNITS else "no such level"
            raise UsageError(f"--isa {isa}: {known}, expected one of {', '.join(here)}")


def _wanted(
    engines: Sequence[str], threads: Sequence[int], isas: Sequence[str | None]
) -> Iterable[tuple[str, int, str | None]]:
    for name, count in itertools.product(dict.fromkeys(engines), dict.fromkeys(threads)):
        levels = dict.fromkeys(isas) if name in ("auto", "native") else (None,)
        yield from ((name, count, isa) for isa in levels)


def _load(
    network: Network, wanted: Iterable[tuple[str, int, str | None]], skipped: dict[Skipped, None]
) -> list[_Candidate]:
    """A candidate for each of `wanted` that can be had; the others go to `skipped`."""
    loaded: list[_Candidate] = []
    failed: EdgekitError | None = None
    try:
        for name, count, isa in wanted:
            try:
                loaded.append(_Candidate(network, name, count, _start(network, name, count, isa)))
            except (ModelError, MissingExtraError) as error:
                failed = failed or error
                skipped[Skipped(network.name, name, str(error))] = None
    except BaseException:
        _close(loaded)
        raise
    if not loaded and failed:
        raise failed
    return loaded


def _start(network: Network, name: str, threads: int, isa: str | None) -> Child:
    file = network.file_for(name)
    if name in RIVALS and not is_installed(name):
        raise MissingExtraError(name, "rivals")
    available_mb = machine.facts()["ram_available_mb"]
    needed_mb = SPARE_MB + 5 * file.stat().st_size / 2**20
    if available_mb is not None and available_mb < needed_mb:
        raise BudgetError(
            f"{network.name}: {available_mb} MB of memory are left and it needs some {needed_mb:.0f} MB: "
            "benchmark fewer models, engines or threads at a time"
        )
    return Child(file, name, threads, isa)


def _take_turns(candidates: Sequence[_Candidate], seconds: float, seed: int, *, record: bool) -> None:
    """Rounds in which each candidate has one turn, in a new order each time."""
    rng = np.random.default_rng(seed)
    end = time.perf_counter() + seconds * len(candidates)
    rounds = 0
    while time.perf_counter() < end or (record and rounds < MIN_ROUNDS):
        rounds += 1
        for index in rng.permutation(len(candidates)):
            candidates[index].turn(record=record)


def _result(candidate: _Candidate, candidates: Sequence[_Candidate], layers: Sequence[Layer]) -> Result:
    first = next(other for other in candidates if other.network is candidate.network)
    low, median, high = spread(candidate.rounds_ms)
    told = candidate.child.loaded
    return Result(
        model=candidate.network.name,
        engine=told.engine,
        runtime=told.runtime,
        threads=candidate.threads,
        isa=told.isa,
        median_ms=median,
        p10_ms=low,
        p90_ms=high,
        speed_up=_ratio(first, candidate)[1],
        first_ms=told.first_ms,
        load_ms=told.load_ms,
        memory_mb=told.memory_mb,
        estimated_mb=told.estimated_mb,
        peak_rss_mb=told.peak_rss_mb,
        runs=candidate.runs,
        layers=tuple(layers),
    )


def _ratio(one: _Candidate, other: _Candidate) -> tuple[float, float, float]:
    """How many times as long `one` takes as `other`, round by round."""
    return spread(np.array(one.rounds_ms) / np.array(other.rounds_ms))


def _ratios(candidates: Sequence[_Candidate]) -> Iterable[Ratio]:
    """Every two candidates, by their numbers."""
    for (i, one), (j, other) in itertools.permutations(enumerate(candidates), 2):
        low, median, high = _ratio(one, other)
        yield Ratio(i, j, median, low, high)
