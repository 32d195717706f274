"""An optimised model beside what was predicted for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import engine, model
from edgekit.analyze.forecast import forecast
from edgekit.analyze.pattern import pattern_of
from edgekit.analyze.whatif import PATTERNS, prunable, sparsity_of, what_if
from edgekit.device import Device
from edgekit.errors import UsageError
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs
from edgekit.optimize.oneshot.calibration import Calibration

MEASURE_S = 1.0
COLUMNS = (
    "model", "device", "pattern", "zero", "predicted ms", "its plan ms", "measured ms", "off", "predicted kB",
    "file kB", "predicted MB", "memory MB",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """On a device: what was predicted from the dense network, and what the plan of the true one says.

    `measured_ms` is what it took, where that is this machine: the prediction is off from that, else from the
    plan.
    """

    model: str
    device: str
    pattern: str
    sparsity: float
    predicted_ms: float
    latency_ms: float
    predicted_file_bytes: int
    file_bytes: int
    predicted_memory_bytes: int
    memory_bytes: int
    measured_ms: float | None = None

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            Path(self.model).stem, self.device, self.pattern, f"{self.sparsity:.1%}",
            f"{self.predicted_ms:.3f}", f"{self.latency_ms:.3f}",
            "" if self.measured_ms is None else f"{self.measured_ms:.3f}",
            f"{self.predicted_ms / (self.measured_ms or self.latency_ms) - 1:+.0%}",
            f"{self.predicted_file_bytes / 1024:.0f}", f"{self.file_bytes / 1024:.0f}",
            f"{self.predicted_memory_bytes / 2**20:.1f}", f"{self.memory_bytes / 2**20:.1f}",
        ]  # fmt: skip


def compare(
    dense: Graph, file: Path, devices: Sequence[Device], progress: Callable[[str], None], here: str = "",
    calibration: Calibration | None = None,
) -> list[Comparison]:  # fmt: skip
    """One line for each device on the optimised network in `file`; on the one named `here` it is measured.

    With calibration inputs the zeros are foretold where the one-shot solver would put them. Raises ModelError
    for a network that cannot be pruned or does not run, UsageError for one that is another.
    """
    optimised = model.read(file)
    if _ends(optimised) != _ends(dense):
        raise UsageError(f"--compare {file}: another network: its inputs and outputs are of other shapes")
    pattern = main_pattern(optimised)
    sparsity = sparsity_of(optimised, PATTERNS[pattern])
    scenarios = what_if(dense, devices, [sparsity], calibration, progress)
    told = []
    for device in devices:
        predicted = next(s for s in scenarios if (s.device, s.pattern) == (device.name, pattern))
        true = forecast(optimised, device)
        told.append(
            Comparison(
                str(file), device.name, pattern, sparsity, predicted.latency_ms, true.latency_ms,
                predicted.file_bytes, file.stat().st_size, predicted.memory_bytes, true.memory_bytes,
                _measured_ms(file) if device.name == here else None,
            )
        )  # fmt: skip
    return told


def _ends(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.tensors[i].shape for i in (*graph.inputs, *graph.outputs)]


def _measured_ms(file: Path) -> float:
    """The least time of one core for the network: what predictions are of."""
    loaded = engine.load(file, "native")
    inputs = random_inputs(loaded.inputs)
    times: list[float] = []
    end = time.perf_counter() + MEASURE_S
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        loaded.run(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def main_pattern(graph: Graph) -> str:
    """The pattern of most weights, among those that are predicted."""
    weights: Counter[str] = Counter()
    for layer in prunable(graph):
        stored = layer.matrix.reshape(len(layer.matrix), -1, layer.channels)
        found = pattern_of(stored)
        weights[found if found in PATTERNS else "unstructured"] += layer.size
    return weights.most_common(1)[0][0]
