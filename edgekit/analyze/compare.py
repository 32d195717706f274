"""An optimised model beside what was predicted for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import model
from edgekit.analyze.forecast import forecast
from edgekit.analyze.pattern import pattern_of
from edgekit.analyze.whatif import PATTERNS, prunable, sparsity_of, what_if
from edgekit.device import Device
from edgekit.model.graph import Graph

COLUMNS = (
    "model", "device", "pattern", "zero", "predicted ms", "its plan ms", "off", "predicted kB", "file kB",
    "predicted MB", "memory MB",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """On a device: what was predicted from the dense network, and what the plan of the true one says."""

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

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            Path(self.model).stem, self.device, self.pattern, f"{self.sparsity:.1%}",
            f"{self.predicted_ms:.2f}", f"{self.latency_ms:.2f}",
            f"{self.predicted_ms / self.latency_ms - 1:+.0%}",
            f"{self.predicted_file_bytes / 1024:.0f}", f"{self.file_bytes / 1024:.0f}",
            f"{self.predicted_memory_bytes / 2**20:.1f}", f"{self.memory_bytes / 2**20:.1f}",
        ]  # fmt: skip


def compare(
    dense: Graph, file: Path, devices: Sequence[Device], progress: Callable[[str], None]
) -> list[Comparison]:
    """One line for each device on the optimised network in `file`.

    Raises ModelError for a network that cannot be pruned or does not run.
    """
    optimised = model.read(file)
    sparsity, pattern = sparsity_of(optimised), main_pattern(optimised)
    told = []
    for device in devices:
        scenarios = what_if(dense, [device], [sparsity], None, progress)
        predicted = next(s for s in scenarios if s.pattern == pattern)
        true = forecast(optimised, device)
        told.append(
            Comparison(
                str(file), device.name, pattern, sparsity, predicted.latency_ms, true.latency_ms,
                predicted.file_bytes, file.stat().st_size, predicted.memory_bytes, true.memory_bytes,
            )
        )  # fmt: skip
    return told


def main_pattern(graph: Graph) -> str:
    """The pattern of most weights, among those that are predicted."""
    weights: Counter[str] = Counter()
    for layer in prunable(graph):
        stored = layer.matrix.reshape(len(layer.matrix), -1, layer.channels)
        found = pattern_of(stored)
        weights[found if found in PATTERNS else "unstructured"] += layer.size
    return weights.most_common(1)[0][0]
