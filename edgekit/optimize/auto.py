"""Writes a recipe for a model and a budget: how sparse it must be for a device, and how it gets there.

The latency is what `edgekit.latency` predicts for one core of the device; the accuracy is not known before
training, and the recipe says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from edgekit import latency, model, plan
from edgekit.device import Device, load_device
from edgekit.errors import BudgetError, UsageError
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot.layers import UNGAINLY, Layer, bias_of, find_layers, replaced

BLOCK = 4
LEVELS = tuple(round(0.05 * step, 2) for step in range(20))  # sparsities that are looked at
ONE_SHOT = 0.5  # up to this share of zero blocks a model need not be trained


@dataclass(frozen=True)
class Estimate:
    """What a model is thought to take on a device: as it is, and with a share of zero 1x4 blocks."""

    device: str
    now_ms: float
    sparsity: float
    sparse_ms: float


def model_ms(graph: Graph, device: Device, sparsity: float | None = None) -> float:
    """Milliseconds on one core; with `sparsity` that share of 1x4 blocks is zero in the pruned layers.

    UsageError for a device of whose kernels nothing is known, ModelError for a network that they cannot run.
    """
    layers = [layer for layer in find_layers(graph) if layer.kind not in UNGAINLY]
    for layer in prunable(layers) if sparsity else ():
        graph = replaced(graph, layer, layer.matrix * _blocks(layer, sparsity or 0.0), bias_of(graph, layer))
    return latency.predict(plan.prepare(graph), device).latency_ms


def prunable(layers: list[Layer]) -> list[Layer]:
    """What a stage `prune` takes by itself: all but the first, the last, depthwise and transposed ones."""
    return [layer for layer in layers[1:-1] if layer.kind not in UNGAINLY]


def _blocks(layer: Layer, sparsity: float) -> NDArray[np.bool_]:
    """A mask of whole blocks, drawn by a fixed seed: which ones go matters little to the latency."""
    outputs, inputs = layer.matrix.shape
    keeps = np.random.default_rng(0).random((outputs, -(-inputs // BLOCK))) >= sparsity
    return np.repeat(keeps, BLOCK, axis=1)[:, :inputs]


def estimate(path: Path, device_name: str, max_ms: float) -> Estimate:
    """The least sparsity that is thought to meet the budget. BudgetError when none does."""
    if not 0 < max_ms < math.inf:
        raise UsageError(f"--max-latency-ms {max_ms:g}: expected more than 0")
    graph, device = model.read(path), load_device(device_name)
    if len(find_layers(graph)) < 3:
        raise UsageError(f"{path}: fewer than three layers with 8 bit weights: nothing to prune")
    now = model_ms(graph, device)
    if now <= max_ms:
        return Estimate(device_name, now, 0.0, now)
    for sparsity in LEVELS:
        sparse = model_ms(graph, device, sparsity)
        if sparse <= max_ms:
            return Estimate(device_name, now, sparsity, sparse)
    raise BudgetError(
        f"{path.name} is thought to take {now:.2f} ms on {device_name}, and {sparse:.2f} ms with "
        f"{LEVELS[-1]:.0%} zeros: take a smaller network, or allow more than {max_ms:g} ms"
    )


def auto_recipe(path: Path, device_name: str, max_ms: float, data: str = "data", epochs: int = 20) -> str:
    """A recipe, as YAML text, that prunes a classifier's `.tflite` until it meets a latency.

    `data` is a .npz file or a folder with one folder of pictures per class. Raises UsageError for a device
    or model that cannot be judged, BudgetError when no sparsity meets the budget.
    """
    found = estimate(path, device_name, max_ms)
    graph = model.read(path)
    shape = graph.tensors[graph.inputs[0]].shape
    if len(shape) != 4 or shape[1] != shape[2]:
        raise UsageError(f"{path}: takes {list(shape)}: expected a classifier of square pictures")
    content = {
        "version": 1,
        "task": "classify",
        "name": path.stem,
        "size": int(shape[1]),
        "data": {"train": data},
        "network": {"model": str(path)},
        "devices": [device_name],
        "stages": _stages(found.sparsity, epochs),
    }
    return _comment(found, path, max_ms) + yaml.safe_dump(content, sort_keys=False)


def _stages(sparsity: float, epochs: int) -> list[dict[str, object]]:
    """Half of the time to prune, a third to settle, the rest in int8, taught by the model as it was."""
    pruned, settled = round(epochs * 0.5, 1), round(epochs * 0.8, 1)
    stages: list[dict[str, object]] = [
        {"learning_rate": {"end": settled, "peak": 0.02}},
        {"learning_rate": {"start": settled, "end": epochs, "peak": 0.005}},
        {"distill": {"end": epochs, "teacher": "self"}},
        {"quantize": {"start": settled, "end": epochs}},
    ]
    if sparsity > 0:
        stages.insert(0, {"prune": {"end": pruned, "sparsity": sparsity, "pattern": f"1x{BLOCK}"}})
    return stages


def _comment(found: Estimate, path: Path, max_ms: float) -> str:
    lines = [
        f"{path.name} on one core of {found.device}: thought to take {found.now_ms:.2f} ms now,",
        f"{found.sparse_ms:.2f} ms with {found.sparsity:.0%} of 1x4 blocks zero; {max_ms:g} ms are allowed.",
        "The latency is modelled, not measured; what accuracy is left only the training tells.",
    ]
    if found.sparsity == 0:
        lines.append("The model meets the budget as it is: this recipe only adapts it to your pictures.")
    elif found.sparsity <= ONE_SHOT:
        lines.append(f"Up to {ONE_SHOT:.0%} one-shot pruning, which trains nothing, may do: try it first.")
    return "".join(f"# {line}\n" for line in lines)
