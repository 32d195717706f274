"""How long an inference takes at first and after a while under load, when a small machine is hot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.engine import load
from edgekit.model.tensors import random_inputs

COLD_S = 1.0


@dataclass(frozen=True)
class Sustained:
    """Medians in milliseconds: of the first second, and of the last after `seconds` of work."""

    cold_ms: float
    sustained_ms: float
    seconds: float

    @property
    def line(self) -> str:
        return f"here {self.cold_ms:.2f} ms cold, {self.sustained_ms:.2f} ms after {self.seconds:g} s of work"


def measure(path: Path, threads: int = 1, seconds: float = 60.0) -> Sustained:
    """Run the model for that long. Raises ModelError when it does not load."""
    engine = load(path, threads=threads)
    inputs = random_inputs(engine.inputs)
    engine.run(inputs)
    times: list[tuple[float, float]] = []
    start = now = time.perf_counter()
    while not times or now - start < seconds:
        before = now
        engine.run(inputs)
        now = time.perf_counter()
        times.append((now - start, 1e3 * (now - before)))
    ends, spent = np.array(times).T
    part = min(COLD_S, seconds / 2)
    cold = spent[ends <= max(part, ends[0])]
    late = spent[ends >= min(ends[-1], seconds - part)]
    return Sustained(float(np.median(cold)), float(np.median(late)), seconds)
