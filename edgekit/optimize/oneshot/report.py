"""What one-shot pruning did to a network, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgekit.model.graph import Graph
from edgekit.optimize.oneshot import latency
from edgekit.optimize.oneshot.budget import Candidate
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.layers import Layer, find_layers

Chosen = Mapping[int, tuple[Candidate, float]]  # by the operator's number: a layer, and its sparsity
Ms = tuple[float, float]  # before, after
_SPARED = 0.6  # a layer is called sensitive when it gets less than that part of the sparsity of all
_LEAST_GAIN = 0.02  # below which no layer is spared, as none had to give
_MOST_SENSITIVE = 2
Pair = tuple[Layer, Layer]
COLUMNS = ("layer", "weights", "zero before", "zero after", "error", "output error", "ms", "note")


@dataclass(frozen=True)
class Line:
    """One layer. `error` is the mean squared error of its outputs over their variance, as they are now;
    `output_error` what pruning it alone, about as much, does to the network's outputs.
    Both are None for layers that are not pruned. `ms` is what it takes on the device, before and after.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    zeros_before: float
    zeros_after: float
    error: float | None = None
    output_error: float | None = None
    ms: Ms | None = None
    note: str = ""

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            f"{self.kind.lower()} {'x'.join(map(str, self.shape))}", str(self.weights),
            f"{self.zeros_before:.1%}", f"{self.zeros_after:.1%}",
            "" if self.error is None else f"{self.error:.4f}",
            "" if self.output_error is None else f"{self.output_error:.4f}",
            "" if self.ms is None else f"{self.ms[0]:.3f} > {self.ms[1]:.3f}", self.note,
        ]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All layers. `sparsity` is the share of zeros among the weights of the layers that may be pruned,
    `all_zeros` that among all weights of 8 bits; `output_error` the mean squared error of the network's
    outputs, before a softmax, over their variance; `ms` what the network takes on one core of the device.
    """

    pattern: str
    inputs: int
    sparsity_before: float
    sparsity: float
    all_zeros: float
    output_error: float
    device: str | None
    ms: Ms | None
    lines: tuple[Line, ...]

    @property
    def summary(self) -> str:
        zero = f"{self.sparsity_before:.1%} > {self.sparsity:.1%} zero ({self.pattern}"
        words = [
            f"{zero}; {self.all_zeros:.1%} of all weights)",
            f"output error {self.output_error:.4f} on {self.inputs} inputs",
        ]
        if self.ms:
            words.append(f"{self.ms[0]:.2f} > {self.ms[1]:.2f} ms on one core of {self.device} (modelled)")
        return ", ".join(words)

    def over(self, goal: Goal) -> float:
        """By which part of what the goal allows the network takes longer; at most 0 if it does not."""
        return self.ms[1] / goal.max_ms - 1 if self.ms and goal.max_ms else 0.0

    @property
    def sensitive(self) -> list[str]:
        """The layers that were spared because the network breaks without them."""
        return [line.name for line in self.lines if line.note.startswith("sensitive")]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return {**asdict(self), "sensitive": self.sensitive}


def make_report(
    graphs: tuple[Graph, Graph], goal: Goal, chosen: Chosen, errors: Mapping[int, float], output_error: float,
    inputs: int,
) -> Report:  # fmt: skip
    """Of a network before and after; `errors` has what is left of the error of each pruned layer."""
    before, after = (find_layers(graph) for graph in graphs)
    pairs = list(zip(before, after, strict=True))
    mine = [pair for pair in pairs if pair[0].number in chosen]
    sparsity = _zeros([new for _, new in mine])
    spared = _spared(mine, chosen, sparsity)
    lines = [_line(graphs[0], pair, goal, (chosen, errors), spared) for pair in pairs]
    ms = None
    if goal.device:
        ms = latency.network_ms(graphs[0], goal.device), latency.network_ms(graphs[1], goal.device)
    return Report(
        goal.pattern.name, inputs, _zeros([old for old, _ in mine]), sparsity, _zeros(after), output_error,
        goal.device.name if goal.device else None, ms, tuple(lines),
    )  # fmt: skip


def _zeros(layers: list[Layer]) -> float:
    nonzero = sum(int(np.count_nonzero(layer.matrix)) for layer in layers)
    return 1 - nonzero / sum(layer.size for layer in layers)


def _spared(pairs: Sequence[Pair], chosen: Chosen, sparsity: float) -> list[int]:
    """The operators of the one or two layers without which the network breaks first."""
    gained = sparsity - _zeros([old for old, _ in pairs])
    if gained < _LEAST_GAIN:
        return []
    denser = [new.number for old, new in pairs if _zeros([new]) - _zeros([old]) < _SPARED * gained]
    return sorted(denser, key=lambda number: -chosen[number][0].loss(sparsity))[:_MOST_SENSITIVE]


def _line(
    dense: Graph, pair: Pair, goal: Goal, found: tuple[Chosen, Mapping[int, float]],
    spared: Sequence[int],
) -> Line:  # fmt: skip
    old, new = pair
    chosen, errors = found
    ms, note = None, f"dense: {old.reason}" if old.reason else ""
    if goal.device and not old.reason:
        times = [latency.layer_ms(dense, old, layer.matrix != 0, goal.device) for layer in pair]
        ms = (times[0], times[1])
    if old.number in spared:
        note = "sensitive: left denser" if _zeros([new]) > _zeros([old]) else "sensitive: left dense"
    return Line(
        old.name, old.kind, old.shape, old.size, _zeros([old]), _zeros([new]), errors.get(old.number),
        chosen[old.number][0].effect if old.number in chosen else None, ms, note,
    )  # fmt: skip
