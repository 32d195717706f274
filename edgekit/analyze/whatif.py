"""What would a network take if it were pruned? Asked before anything is trained.

Each layer that may be pruned loses its smallest weights, or with calibration inputs those that the one-shot
solver would take, and the plan of what is left tells the rest. The first convolution and the last layer stay
as they are without calibration, as is usual.
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
COLUMNS = ("pattern", "zero", "ms", "speed-up", "file kB", "weights kB", "memory MB", "loss")
STEP, MOST_STEPS = 0.05, 50
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scenario:
    """The network at a sparsity. `sparsity` is the share of zeros asked of the layers that are pruned;
    `file_bytes` what edgekit writes, of the network as it is too; `loss` the sum over these layers of the
    error of their outputs by the outputs' variance, as far as it was asked for: the less the better, 0 is the
    network as it is.
    """

    device: str
    pattern: str
    sparsity: float
    latency_ms: float
    speed_up: float
    file_bytes: int
    weight_bytes: int
    memory_bytes: int
    loss: float | None

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            self.pattern, f"{self.sparsity:.0%}", ms_text(self.latency_ms), f"{self.speed_up:.2f}x",
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
            scenarios.append(
                Scenario(
                    device.name, pattern, share, told.latency_ms, first.latency_ms / told.latency_ms, size,
                    told.weight_bytes, told.memory_bytes, loss,
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
                _masked(graph, {x.number: (x, smallest(x, s, PATTERNS[pattern])) for x in layers}),
                None,
            )
            for s in shares
        ]
    goals = [Goal(parse_pattern(pattern), share) for share in shares]
    candidates = survey(graph, calibration, goals[0], progress)
    return [(pattern, goal.sparsity or 0.0, *_solved(graph, candidates, goal)) for goal in goals]


def _solved(graph: Graph, candidates: Sequence[Candidate], goal: Goal) -> tuple[Graph, float]:
    levels = spend(candidates, goal, graph)
    masks = {
        c.layer.number: (c.layer, c.trace.mask(level) if level else c.layer.matrix != 0)
        for c, level in zip(candidates, levels, strict=True)
    }
    loss = sum(c.loss(level) for c, level in zip(candidates, levels, strict=True))
    return _masked(graph, masks), float(loss)


def prunable(graph: Graph) -> list[Layer]:
    """The layers that are pruned by magnitude: all but the first convolution and the last layer."""
    layers = [layer for layer in find_layers(graph) if not layer.reason]
    if len(layers) < 3:
        raise UsageError("--what-if: fewer than three layers have weights that may be pruned")
    first = next((layer for layer in layers if layer.window is not None), None)
    return [layer for layer in layers[:-1] if layer is not first]


def smallest(layer: Layer, share: float, group: int) -> Mask:
    """What stays (outputs, inputs) when that share of the weights goes, in groups of neighbouring inputs."""
    outputs, inputs = layer.matrix.shape
    apart = np.square(layer.real).reshape(outputs, -1, layer.channels)
    wide = np.pad(apart, ((0, 0), (0, 0), (0, -layer.channels % group)))
    weight = wide.reshape(outputs, -1, group).sum(axis=2)
    order = np.argsort(weight, axis=None, kind="stable")
    keep = np.ones(weight.size, bool)
    keep[order[: round(share * weight.size)]] = False
    spread = np.repeat(keep.reshape(weight.shape), group, axis=1).reshape(wide.shape)
    return np.asarray(spread[:, :, : layer.channels].reshape(outputs, inputs))


def _masked(graph: Graph, masks: dict[int, tuple[Layer, Mask]]) -> Graph:
    """The graph with all that the masks leave out set to zero; what it computes is not the point."""
    for layer, mask in masks.values():
        graph = replaced(graph, layer, layer.matrix * mask, bias_of(graph, layer))
    return replace(graph)


def sparsity_of(graph: Graph, *, solved: bool = False) -> float:
    """The share of zeros in the layers that may be pruned, by magnitude or by the one-shot solver."""
    layers = [x for x in find_layers(graph) if not x.reason] if solved else prunable(graph)
    return 1 - sum(int(np.count_nonzero(x.matrix)) for x in layers) / sum(x.size for x in layers)
