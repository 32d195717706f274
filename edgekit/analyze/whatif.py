"""What would a network take if it were pruned? Asked before anything is trained.

One budget of zeros is spread over the layers, and the plan of what is left tells the rest. With calibration
inputs the one-shot solver spreads it. Without, what holds the least share of its layer's energy goes first:
like the solver's this counts an error by what the layer gives, so that small layers stay denser. Taps over a
large picture count for less, as the solver lets a neighbour, which sees much the same, do their work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit import model
from edgekit.analyze.forecast import Forecast, forecast
from edgekit.device import Device
from edgekit.errors import UsageError
from edgekit.latency import ms_text
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot.budget import Candidate, spend
from edgekit.optimize.oneshot.calibration import Calibration
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.layers import Layer, bias_of, find_layers, replaced
from edgekit.optimize.oneshot.pattern import parse_pattern
from edgekit.optimize.oneshot.prune import survey

PATTERNS = {"unstructured": 1, "1x4": 4}
COLUMNS = ("pattern", "zero", "ms", "range", "speed-up", "file kB", "weights kB", "memory MB", "loss")
STEP, MOST_STEPS = 0.05, 50
MOST_OF_LAYER = 0.98  # of its weights, as the solver has it
APART = 4  # pixels of a side up to which each says something of its own
UNSOLVED = 0.85, 1.2  # what a network that the solver pruned takes, by one whose zeros were spread without it
Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """The network at a sparsity. `sparsity` is the share of zeros asked of all layers that can be pruned;
    `low_ms` and `high_ms` are the range of `latency_ms`; `file_bytes` what edgekit writes, of the network as
    it is too; `loss` the sum over these layers of the error of their outputs by the outputs' variance, as far
    as it was asked for: the less the better, 0 is the network as it is.
    """

    device: str
    pattern: str
    sparsity: float
    latency_ms: float
    low_ms: float
    high_ms: float
    speed_up: float
    file_bytes: int
    weight_bytes: int
    memory_bytes: int
    loss: float | None

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            self.pattern, f"{self.sparsity:.0%}", ms_text(self.latency_ms),
            f"{ms_text(self.low_ms)}-{ms_text(self.high_ms)}", f"{self.speed_up:.2f}x",
            f"{self.file_bytes / 1024:.0f}", f"{self.weight_bytes / 1024:.0f}",
            f"{self.memory_bytes / 2**20:.1f}", "" if self.loss is None else f"{self.loss:.3f}",
        ]  # fmt: skip


def parse_sparsities(text: str) -> list[float]:
    """`sparsity=0.5..0.95`, `sparsity=0.5..0.9/0.1` (a step) or `sparsity=0.5,0.8` -> shares.

    Raises UsageError for what is no share of zeros from 0 up to less than 1.
    """
    number = r"(\d*\.?\d+)"
    found = re.fullmatch(rf"sparsity={number}(?:\.\.{number}(?:/{number})?|((?:,{number})*))", text)
    if not found:
        raise UsageError(f"--what-if {text[:60]}: expected sparsity=0.5..0.95 or sparsity=0.5,0.8")
    if found[2]:
        low, high, step = float(found[1]), float(found[2]), float(found[3] or STEP)
        count = int((high - low) / step + 1e-6) + 1 if step > 0 else 0
        shares = [round(low + step * i, 6) for i in range(min(count, MOST_STEPS + 1))]
    else:
        shares = [float(word) for word in text.removeprefix("sparsity=").split(",")]
    if not shares or len(shares) > MOST_STEPS or not 0 <= min(shares) <= max(shares) < 1:
        raise UsageError(f"--what-if {text[:60]}: expected 1 to {MOST_STEPS} shares from 0 to less than 1")
    return sorted(set(shares))


def what_if(
    graph: Graph, devices: Sequence[Device], shares: Sequence[float], calibration: Calibration | None,
    progress: Callable[[str], None],
) -> list[Scenario]:  # fmt: skip
    """The network as it is, and at each sparsity and pattern, on each device.

    `progress` hears a line now and then. Raises ModelError for a network that cannot be pruned or that the
    native engine does not run.
    """
    variants: list[tuple[str, float, Graph, float | None]] = [
        ("as it is", 0.0, graph, None if calibration is None else 0.0)
    ]
    for pattern in PATTERNS:
        variants += _variants(graph, pattern, shares, calibration, progress)
    files = [len(model.write(pruned, sparse=True)) for _, _, pruned, _ in variants]
    scenarios = []
    for device in devices:
        first: Forecast | None = None
        for (pattern, share, pruned, loss), size in zip(variants, files, strict=True):
            progress(f"{device.name}: {pattern} {share:.0%}")
            told = forecast(pruned, device)
            first = first or told
            low, high = UNSOLVED if share and calibration is None else (1.0, 1.0)
            scenarios.append(
                Scenario(
                    device.name, pattern, share, told.latency_ms, low * told.low_ms, high * told.high_ms,
                    first.latency_ms / told.latency_ms, size, told.weight_bytes, told.memory_bytes, loss,
                )
            )  # fmt: skip
    return scenarios


def _variants(
    graph: Graph, pattern: str, shares: Sequence[float], calibration: Calibration | None,
    progress: Callable[[str], None],
) -> list[tuple[str, float, Graph, float | None]]:  # fmt: skip
    if calibration is None:
        layers = prunable(graph)
        return [
            (
                pattern,
                s,
                _masked(graph, _by_number(layers, lightest(graph, layers, s, PATTERNS[pattern]))),
                None,
            )
            for s in shares
        ]
    goals = [Goal(parse_pattern(pattern), share) for share in shares]
    own, ends = survey(graph, calibration, [goals[0], goals[-1]] if len(goals) > 1 else goals, progress)
    places = np.subtract(shares, shares[0]) / (shares[-1] - shares[0] or 1.0)
    return [
        (pattern, goal.sparsity or 0.0, *_solved(graph, own, _between(ends, place), goal))
        for goal, place in zip(goals, places, strict=True)
    ]


def _between(ends: Sequence[Sequence[Candidate]], place: float) -> list[Candidate]:
    """Candidates as weighed at the least share (0) and the largest (1), or about so between: a trial of every
    layer at every share would take long.
    """
    return [
        replace(low, losses=low.losses ** (1 - place) * high.losses**place)
        for low, high in zip(ends[0], ends[-1], strict=True)
    ]


def _solved(
    graph: Graph, own: Sequence[Candidate], weighed: Sequence[Candidate], goal: Goal
) -> tuple[Graph, float]:
    """The network as the solver spreads the goal by the weighed losses, and the sum of its layers' own."""
    levels = spend(weighed, goal, graph)
    masks = [
        c.trace.mask(level) if level else c.layer.matrix != 0 for c, level in zip(own, levels, strict=True)
    ]
    loss = sum(c.loss(level) for c, level in zip(own, levels, strict=True))
    return _masked(graph, _by_number([c.layer for c in own], masks)), float(loss)


def _by_number(layers: Sequence[Layer], masks: Sequence[Mask]) -> dict[int, tuple[Layer, Mask]]:
    return {layer.number: (layer, mask) for layer, mask in zip(layers, masks, strict=True)}


def prunable(graph: Graph) -> list[Layer]:
    """The layers that the one-shot solver may prune. UsageError where there is none."""
    layers = [layer for layer in find_layers(graph) if not layer.reason]
    if not layers:
        raise UsageError("--what-if: no layer has weights that may be pruned")
    return layers


def lightest(graph: Graph, layers: Sequence[Layer], share: float, group: int) -> list[Mask]:
    """What stays of each layer, (outputs, inputs), when that share of all their weights goes.

    Of groups of neighbouring inputs those go that hold the least share of their layer's energy, for each
    weight of theirs, as far as its taps do not see the same, but none of the heaviest 2 % of a layer while
    there are others.
    """
    costs, counts = zip(*(_costs(graph, layer, group) for layer in layers), strict=True)
    order = np.argsort(np.concatenate([cost.ravel() for cost in costs]), kind="stable")
    gone = np.cumsum(np.concatenate([count.ravel() for count in counts])[order])
    keep = np.ones(len(order), bool)
    keep[order[: np.searchsorted(gone, share * gone[-1] + 0.5, "right")]] = False
    parts = np.split(keep, np.cumsum([cost.size for cost in costs])[:-1])
    return [_spread(part, layer, group) for part, layer in zip(parts, layers, strict=True)]


def _costs(graph: Graph, layer: Layer, group: int) -> tuple[Array, Array]:
    """Of each group its share of what the layer gives, by weight, and how many weights it has."""
    energy, count = (
        _grouped(np.square(layer.real), layer, group),
        _grouped(np.ones(layer.matrix.shape), layer, group),
    )
    cost = _apart(graph, layer) * energy / count / (energy.sum() or 1.0)
    last = np.argsort(cost, axis=None, kind="stable")[round(MOST_OF_LAYER * cost.size) :]
    cost.ravel()[last] += 1.0  # more than any share
    return cost, count


def _apart(graph: Graph, layer: Layer) -> float:
    """The share of the layer's taps that see something of their own: all on a small picture."""
    taps, shape = layer.matrix.shape[1] // layer.channels, graph.tensors[layer.result].shape
    side = min(shape[1:3]) if len(shape) == 4 else 1
    return float((1 + (taps**0.5 - 1) * min(1.0, APART / side)) ** 2 / taps)


def _grouped(values: Array | Mask, layer: Layer, group: int) -> Array:
    """Values (outputs, inputs) summed over groups of neighbouring channels."""
    apart = values.reshape(len(values), -1, layer.channels)
    wide = np.pad(apart, ((0, 0), (0, 0), (0, -layer.channels % group)))
    return np.asarray(wide.reshape(len(values), -1, group).sum(axis=2))


def _spread(keep: Mask, layer: Layer, group: int) -> Mask:
    """Of groups to the weights in them: the inverse of `_grouped`."""
    wide = np.repeat(keep, group).reshape(len(layer.matrix), -1, layer.channels + -layer.channels % group)
    return np.asarray(wide[:, :, : layer.channels].reshape(layer.matrix.shape))


def _masked(graph: Graph, masks: dict[int, tuple[Layer, Mask]]) -> Graph:
    """The graph with all that the masks leave out set to zero; what it computes is not the point."""
    for layer, mask in masks.values():
        graph = replaced(graph, layer, layer.matrix * mask, bias_of(graph, layer))
    return replace(graph)


def how_spread(scenarios: Sequence[Scenario]) -> str:
    """By whom and by what the zeros are spread over the layers, in words."""
    if any(scenario.loss is not None for scenario in scenarios):
        return "zeros are spread over the layers by the one-shot solver, on the calibration inputs"
    return "zeros are spread over the layers by the energy of their weights, without calibration inputs"


def sparsity_of(graph: Graph, group: int) -> float:
    """The share of the weights, in the layers that may be pruned, whose whole group is zero."""
    layers = prunable(graph)
    left = sum(int(_spread(_grouped(x.matrix != 0, x, group) > 0, x, group).sum()) for x in layers)
    return 1 - left / sum(x.size for x in layers)
