"""What a network will take on a device, milliseconds and memory, computed from its plan on any machine.

    predict(plan.prepare(graph), load_device("raspberry-pi-4"), threads=4).latency_ms

Each step of the plan that the engine would make there costs the longer of computing and of moving its bytes,
and what a step costs anyway. How fast a device computes its profile says: measured by `edgekit devices
probe`, or modelled (see `edgekit.device.calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import model, plan
from edgekit.device import Device, levels_of
from edgekit.device.calibration import Basis, Calibration
from edgekit.device.speeds import calibration_of
from edgekit.device.work import Work, work_of
from edgekit.errors import ModelError, UsageError
from edgekit.model.graph import Graph
from edgekit.plan import Plan, memory

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
COLUMNS = ("model", "device", "threads", "ms", "range", "memory MB", "tier")


@dataclass(frozen=True)
class StepCost:
    """A step of the plan: its family, the operator that it belongs to, and what decides how long it takes.

    `basis` says how its costs are known: by the device's "profile", "modelled" where that lacks this `kind`
    of work, or "guessed" where nothing is known.
    """

    family: str
    operator: int
    us: float
    bound: str  # "compute" or "memory"
    kind: str
    basis: Basis


@dataclass(frozen=True)
class Prediction:
    """One inference on a device: milliseconds with their range, the peak of memory, and how that is known."""

    device: str
    isa: str
    threads: int
    latency_ms: float
    low_ms: float
    high_ms: float
    memory_bytes: int
    tier: str  # "modelled", "measured" or "maintained", and "+ modelled" or "+ guessed" for parts of it
    steps: tuple[StepCost, ...]

    @property
    def memory_mb(self) -> float:
        return self.memory_bytes / 2**20

    @property
    def gaps(self) -> str:
        """What the device's profile does not tell, with its share of the time; empty if it tells all."""
        told = []
        for basis in ("modelled", "guessed"):
            steps = [step for step in self.steps if step.basis == basis]
            if steps:
                kinds = ", ".join(sorted({step.kind for step in steps}))
                share = sum(step.us for step in steps) / (10 * self.latency_ms)
                told.append(f"{kinds} {basis} ({share:.1f} % of the time)")
        return "; ".join(told)

    def row(self, name: str) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        span = f"{ms_text(self.low_ms)}-{ms_text(self.high_ms)}"
        return [
            name, f"{self.device} ({self.isa})", str(self.threads), ms_text(self.latency_ms), span,
            f"{self.memory_mb:.1f}", self.tier,
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return {**asdict(self), "gaps": self.gaps}


def ms_text(ms: float) -> str:
    """Milliseconds for a table: small networks take hundredths."""
    return f"{ms:.2f}" if ms >= 1 else f"{ms:.3g}"


def predict(graph: Graph, device: Device, threads: int = 1, isa: str | None = None) -> Prediction:
    """Predict a graph as `plan.prepare` makes it; `isa` is a lower level of the device, by default its own.

    Raises ModelError when the native engine cannot run the graph, UsageError for a level that the device
    lacks, or of which nothing is known.
    """
    if isa and isa not in levels_of(device):
        raise UsageError(f"{device.name} has no ISA level {isa!r}: it has {', '.join(levels_of(device))}")
    if reason := plan.refusal(graph):
        raise ModelError(f"the native engine cannot run {reason}: no prediction")
    found = calibration_of(device, isa or device.isa)
    made = plan.build(graph, found.level, threads=threads)
    return predict_plan(graph, made, device, threads, found)


def predict_file(path: str | Path, device: Device, threads: int = 1, isa: str | None = None) -> Prediction:
    """Predict a `.tflite` file. Raises ModelError and UsageError, naming the file."""
    try:
        return predict(plan.prepare(model.read(path)), device, threads, isa)
    except ModelError as error:
        raise error if str(error).startswith(str(path)) else ModelError(f"{path}: {error}") from None


def predict_plan(
    graph: Graph, made: Plan, device: Device, threads: int = 1, found: Calibration | None = None
) -> Prediction:
    """Predict a plan of the graph that was made for the device's ISA level."""
    found = found or calibration_of(device, made.isa)
    threads = min(threads, cores(device))
    works = [work_of(step, made.isa) for step in made.steps]
    steps = _steps(made, works, device, threads, found)
    slowest = _steps(made, works, device, threads, found.at_worst())
    times_us, most_us = (np.array([found.run_us, *(s.us for s in each)]) for each in (steps, slowest))
    lows, highs = zip((found.low, found.high), *(found.span(work) for work in works), strict=True)
    return Prediction(
        device.name, made.isa, threads, 1e-3 * float(times_us.sum()), 1e-3 * float(times_us @ lows),
        1e-3 * float(most_us @ highs), memory.native_bytes(graph, made), _tier(device, made.isa, steps),
        steps,
    )  # fmt: skip


def _steps(
    made: Plan, works: Sequence[Work], device: Device, threads: int, found: Calibration
) -> tuple[StepCost, ...]:
    us_a_byte = _us_a_byte(made, device)
    costs = []
    for step, operator, work in zip(made.steps, made.operators, works, strict=True):
        compute, moving = found.compute_us(work, threads), us_a_byte * work.traffic_bytes
        bound = "memory" if moving > compute else "compute"
        basis = found.basis(work)
        costs.append(StepCost(step.family, operator, max(compute, moving), bound, work.kind, basis))
    return tuple(costs)


def _tier(device: Device, isa: str, steps: Sequence[StepCost]) -> str:
    """How the times are known; of what the profile lacks the worst is told, too."""
    tier = device.tier if isa in device.kernels else "modelled"
    used = {step.basis for step in steps}
    if "guessed" in used:
        return f"{tier} + guessed"
    return f"{tier} + modelled" if "modelled" in used and tier != "modelled" else tier


def _us_a_byte(made: Plan, device: Device) -> float:
    """What a byte costs to read or write where the network does not fit the second cache; else nothing."""
    fits = made.arena_bytes + made.constant_bytes <= 1024 * (device.l2_kib or 0)
    return 0.0 if fits or not device.copy_gbps else 1e-3 / (2 * device.copy_gbps)


def cores(device: Device) -> int:
    """Threads that have a core of their own."""
    count = sum(group.count for group in device.cores) or device.usable_cpus or 1
    return max(1, min(count, device.usable_cpus or count, int(device.cpu_quota or count)))


def layer_ms(
    graph: Graph, device: Device, operator: int, zeros: float, pattern: str = "1x4", threads: int = 1
) -> float:
    """Milliseconds of one operator were the share `zeros` of its weights zero.

    `pattern` is "1x4" (quads along the inputs), "unstructured" or "dense". Raises UsageError for an operator
    without weights, an unknown pattern or a share that is none.
    """
    if not 0 <= operator < len(graph.ops) or graph.ops[operator].kind not in WEIGHTED:
        raise UsageError(f"operator {operator} has no weights that could be zero")
    if pattern not in ("1x4", "unstructured", "dense") or not 0 <= zeros < 1:
        raise UsageError(
            f"{pattern!r} at {zeros}: expected 1x4, unstructured or dense, and a share from 0 to 1"
        )
    thinned = _thinned(graph, operator, 0.0 if pattern == "dense" else zeros, 4 if pattern == "1x4" else 1)
    return operator_ms(thinned, device, operator, threads)


def operator_ms(graph: Graph, device: Device, operator: int, threads: int = 1) -> float:
    """Milliseconds of one operator, as a network of its own. Raises ModelError where native cannot run it."""
    op = graph.ops[operator]
    ends = [i for i in op.inputs[:1] if graph.tensors[i].data is None]
    alone = Graph(graph.tensors, (op,), tuple(ends), op.outputs, graph.description)
    told = predict(plan.prepare(alone), device, threads)
    return 1e-3 * sum(step.us for step in told.steps if step.operator >= 0)


def _thinned(graph: Graph, operator: int, zeros: float, run: int) -> Graph:
    """The graph with that share of the operator's weights zero, and no other of them."""
    weights = graph.tensors[graph.ops[operator].inputs[1]]
    assert weights.data is not None  # noqa: S101  refused otherwise
    kept = _mask(weights.data.shape, zeros, run)
    dense = np.where(weights.data == 0, weights.data.dtype.type(1), weights.data)
    thinned = replace(weights, data=np.where(kept, dense, weights.data.dtype.type(0)))
    tensors = list(graph.tensors)
    tensors[graph.ops[operator].inputs[1]] = thinned
    return replace(graph, tensors=tuple(tensors))


def _mask(shape: tuple[int, ...], zeros: float, run: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    drawn = np.random.default_rng(0).random((*shape[:-1], -(-shape[-1] // run)))
    return np.repeat(drawn >= zeros, run, axis=-1)[..., : shape[-1]]


def by_family(prediction: Prediction) -> Mapping[str, float]:
    """Microseconds of each family of steps."""
    total: dict[str, float] = {}
    for step in prediction.steps:
        total[step.family] = total.get(step.family, 0.0) + step.us
    return total
