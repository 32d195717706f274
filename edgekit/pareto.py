"""Models beside each other: how good on the same pictures, how fast on the same machine, in the same run.

The Pareto front are those that no other is at least as good and as fast as.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import inference, model
from edgekit.bench import Settings, benchmark
from edgekit.errors import MissingExtraError, UsageError
from edgekit.evaluate import Evaluation, evaluate
from edgekit.evaluate.confusion import score
from edgekit.evaluate.labelled import Labelled
from edgekit.zoo import list_models

WIDTH, LINE = 4.9, 0.19  # inches of 72 points: of a picture that is as wide as a phone, and of a line of text
TEXT = 11  # points
MOST_LETTERS = 44  # of a model's name: more do not fit
Progress = Callable[[Iterable[Any]], Iterable[Any]]
Judge = Callable[[Sequence[inference.Model]], list[dict[str, float]]]


@dataclass(frozen=True)
class Standing:
    """A model with an engine. `scores` in 0..1 by the name of the metric: the first one decides.

    `zeros` is the share of the weights that are zero, `size_kb` that of the file in 1000 bytes.
    """

    model: str
    runtime: str
    scores: Mapping[str, float]
    latency_ms: float
    zeros: float
    size_kb: float
    on_front: bool = False

    @property
    def score(self) -> float:
        return next(iter(self.scores.values()))

    def row(self) -> list[str]:
        """The cells of a table with `columns` as its head."""
        return [
            self.model, self.runtime, *(f"{100 * value:.1f}" for value in self.scores.values()),
            f"{self.latency_ms:.3f}", f"{self.zeros:.0%}", f"{self.size_kb:.0f}",
            "yes" if self.on_front else "",
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return asdict(self)


def columns(standings: Sequence[Standing]) -> list[str]:
    metrics = [f"{name} %" for name in standings[0].scores]
    return ["model", "engine", *metrics, "ms", "zero", "kB", "front"]


def compare(names: Sequence[str], judge: Judge, engines: Sequence[str], settings: Settings) -> list[Standing]:
    """Judge the models, time them in turns with every engine, and mark the front; the fastest first.

    Raises what `benchmark` and the judge raise, UsageError without models.
    """
    if not names:
        raise UsageError("no model of the zoo tells these classes: name some models")
    opened = [inference.open(name) for name in names]
    judged = dict(zip(names, judge(opened), strict=True))
    timed = benchmark(names, engines, settings=settings).results
    found = [
        _standing(result.model, result.runtime, judged[result.model], result.median_ms) for result in timed
    ]
    return mark_front(sorted(found, key=lambda one: one.latency_ms))


def _standing(name: str, runtime: str, scores: Mapping[str, float], latency_ms: float) -> Standing:
    path = inference.find_file(name)[0]
    zeros = 1 - model.read(path).density
    return Standing(name, runtime, scores, latency_ms, zeros, path.stat().st_size / 1000)


def mark_front(standings: Sequence[Standing]) -> list[Standing]:
    """The same ones, marked where no other is at least as good and as fast, and better in one of both."""
    points = np.array([(-one.score, one.latency_ms) for one in standings])
    beaten = [bool(((points <= mine).all(axis=1) & (points < mine).any(axis=1)).any()) for mine in points]
    return [replace(one, on_front=not lost) for one, lost in zip(standings, beaten, strict=True)]


# ---- judges ------------------------------------------------------------------------------------------


def classifiers(pictures: Labelled, first: int = 0, progress: Progress = iter) -> Judge:
    """Mean of the classes' recalls, then the share of pictures that are right."""

    def judge(models: Sequence[inference.Model]) -> list[dict[str, float]]:
        found = [score(one, pictures, first if not one.named else 0, progress) for one in models]
        return [{"mean recall": one.balanced, "accuracy": one.accuracy} for one in found]

    return judge


def detectors(annotations: Path, images: Path, progress: Progress = iter) -> Judge:
    """COCO's metrics over the classes that all of the models know."""

    def judge(models: Sequence[inference.Model]) -> list[dict[str, float]]:
        found = [evaluate(one, annotations, images, progress) for one in models]
        shared = [label for label in found[0].labels if all(label in one.labels for one in found)]
        if not shared:
            raise UsageError("these models know no class together")
        return [_averages(one, shared) for one in found]

    return judge


def _averages(found: Evaluation, labels: Sequence[str]) -> dict[str, float]:
    means = {
        name: float(np.mean([found.labels[label][key] for label in labels]))
        for name, key in (("AP50", "ap50"), ("AP", "ap"))
    }
    person = {"person AP50": found.labels["person"]["ap50"]} if "person" in labels else {}
    return means | person


def of_zoo(task: str, labels: Sequence[str]) -> list[str]:
    """The models of the zoo for a task that know all of these labels, or with none given all of the task."""
    return [
        one.name for one in list_models() if one.card.task == task and set(labels) <= set(one.card.labels)
    ]


# ---- shown -------------------------------------------------------------------------------------------


def as_markdown(standings: Sequence[Standing]) -> str:
    rows = [columns(standings), ["---"] * len(columns(standings)), *(one.row() for one in standings)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def draw(standings: Sequence[Standing], path: Path) -> None:
    """A picture of the front, by the ending of `path`. Raises MissingExtraError, UsageError.

    Its text can be read on a phone: the models are numbered, and named below.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report") from None
    runtimes = {one.runtime for one in standings}
    lines = len(standings) * min(2, len(runtimes))
    figure = Figure((WIDTH, 3.4 + LINE * lines), layout="constrained")
    axes = figure.add_subplot()
    for number, one in enumerate(standings, 1):
        colour = "C0" if one.on_front else "0.5"
        at = one.latency_ms, 100 * one.score
        axes.plot(*at, "o", color=colour, label=_key(number, one, tell_runtime=len(runtimes) > 1))
        axes.annotate(str(number), at, (4, 4), textcoords="offset points", color=colour, fontsize=TEXT)
    front = [one for one in standings if one.on_front]
    axes.step([one.latency_ms for one in front], [100 * one.score for one in front], where="post", color="C0")
    _label(
        axes, "ms" if len(runtimes) > 1 else f"ms, {standings[0].runtime}", next(iter(standings[0].scores))
    )
    figure.legend(loc="outside lower left", fontsize=TEXT, frameon=False, handlelength=0.5, labelspacing=0.2)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot draw there: {error}") from None


def _key(number: int, one: Standing, *, tell_runtime: bool) -> str:
    """What a number in the picture stands for."""
    name = "/".join(one.model.removesuffix(".tflite").split("/")[-2:])
    return f"{number}  {name[-MOST_LETTERS:]}" + (f"\n    {one.runtime}" if tell_runtime else "")


def _label(axes: Any, across: str, metric: str) -> None:
    """Scales with plain numbers, in text of one size."""
    from matplotlib.ticker import LogLocator

    axes.set(xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(across, fontsize=TEXT)
    axes.set_ylabel(f"{metric} (%)", fontsize=TEXT)
    axes.tick_params(labelsize=TEXT)
    axes.margins(x=0.12, y=0.12)
    axes.grid(linewidth=0.4)
