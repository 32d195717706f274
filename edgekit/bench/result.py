"""What a benchmark found, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgekit import __version__
from edgekit.bench.rivals import Layer
from edgekit.device import probe

COLUMNS = (
    "#", "model", "engine", "threads", "ms", "p10-p90", "speed-up", "first ms", "load ms", "peak RSS MB",
    "runs",
)  # fmt: skip
MAX_RATIO_COLUMNS = 10
LAYER_COLUMNS = ("#", "layer", "kernel", "us", "share")


@dataclass(frozen=True)
class Result:
    """What was measured of one model with one engine.

    Times are of one inference, in milliseconds: the median over the rounds, and what a tenth of the rounds
    stays below and above. `speed_up` is the median, round by round, of the time of the first candidate for
    the same model by the time of this one. `first_ms` is the first inference, `load_ms` the load before it.
    `memory_mb` is by how much the process grew with both, `estimated_mb` by how much it was expected to,
    `peak_rss_mb` how large it ever was, Python and the engine's libraries included. `layers` has name, kind
    and microseconds of each layer, where a profile was asked for and the engine tells.
    """

    model: str
    engine: str
    runtime: str
    threads: int
    isa: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    speed_up: float
    first_ms: float
    load_ms: float
    memory_mb: float
    estimated_mb: float | None
    peak_rss_mb: float
    runs: int
    layers: tuple[Layer, ...] = ()

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head, but for the number."""
        return [
            short_name(self.model), f"{self.engine} ({self.runtime})", str(self.threads),
            f"{self.median_ms:.3f}", f"{self.p10_ms:.3f}-{self.p90_ms:.3f}", f"{self.speed_up:.2f}x",
            f"{self.first_ms:.2f}", f"{self.load_ms:.1f}", f"{self.peak_rss_mb:.0f}", str(self.runs),
        ]  # fmt: skip

    def layer_rows(self) -> list[list[str]]:
        """The cells of a table with LAYER_COLUMNS as its head."""
        total = sum(us for _, _, us in self.layers) or 1.0
        return [
            [str(number), name, kind, f"{us:.1f}", f"{us / total:.1%}"]
            for number, (name, kind, us) in enumerate(self.layers)
        ]


@dataclass(frozen=True)
class Ratio:
    """The time of result number `of` by that of number `by`, round by round: the median and the tenths."""

    of: int
    by: int
    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Skipped:
    """What could not be measured, and why."""

    model: str
    engine: str
    reason: str


@dataclass(frozen=True)
class Benchmark:
    """All results, every ratio between two of them, and what was left out."""

    settings: dict[str, Any]
    results: tuple[Result, ...]
    ratios: tuple[Ratio, ...]
    skipped: tuple[Skipped, ...]

    def rows(self) -> list[list[str]]:
        """The cells of a table with COLUMNS as its head."""
        return [[str(number), *result.row()] for number, result in enumerate(self.results, 1)]

    def ratio_tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """Head and rows: by the time of each column's candidate, the time of each row's.

        One table where it fits a page, else one for each model.
        """
        numbers = range(len(self.results))
        if len(numbers) <= MAX_RATIO_COLUMNS:
            return [self._ratio_table(list(numbers))] if len(numbers) > 1 else []
        models = dict.fromkeys(result.model for result in self.results)
        groups = [[i for i in numbers if self.results[i].model == model] for model in models]
        return [self._ratio_table(group) for group in groups if len(group) > 1]

    def _ratio_table(self, numbers: Sequence[int]) -> tuple[list[str], list[list[str]]]:
        cells = {(ratio.of, ratio.by): f"{ratio.median:.2f}" for ratio in self.ratios}
        names = {i: f"{i + 1} {_candidate_name(self.results[i])}" for i in numbers}
        head = ["time of row / time of column", *(str(i + 1) for i in numbers)]
        return head, [[names[i], *(cells.get((i, j), "-") for j in numbers)] for i in numbers]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: with what was measured and on what."""
        return {"edgekit": __version__, "machine": probe().to_dict(), **asdict(self)}


def short_name(model: str) -> str:
    """A zoo name, or what tells a file from others: its stem, or its folder when it is just called model."""
    path = Path(model)
    if path.suffix not in (".tflite", ".onnx", ".xml"):
        return model
    return path.absolute().parent.name if path.stem == "model" else path.stem


def _candidate_name(result: Result) -> str:
    level = f" {result.isa}" if result.isa else ""
    return f"{short_name(result.model)} {result.engine}{level} {result.threads}t"


def spread(values: ArrayLike) -> tuple[float, float, float]:
    """What a tenth stays below, the median, what a tenth stays above."""
    low, median, high = np.percentile(np.asarray(values, float), [10, 50, 90])
    return float(low), float(median), float(high)
