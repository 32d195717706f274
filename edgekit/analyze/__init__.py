"""A model's plan in words: each step, what it costs, which kernel it got and why, how long it takes here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import engine, model, plan
from edgekit.analyze.pattern import pattern_of
from edgekit.errors import ModelError, UsageError
from edgekit.inference import find_file
from edgekit.model.graph import Graph, Op
from edgekit.model.layers import WEIGHTED, multiply_adds
from edgekit.model.tensors import random_inputs
from edgekit.plan import Plan, costs
from edgekit.plan.step import Step

COLUMNS = (
    "step", "operator", "output", "kernel", "MMAC", "effective", "zero", "pattern", "kB", "us", "share", "why"
)  # fmt: skip
WARM_UP, RUNS = 3, 20


@dataclass(frozen=True)
class Line:
    """One step. `macs` are those of the dense operator, `effective_macs` those whose weight is not zero.

    `zeros` is the share of its weights that are zero, `pattern` how they lie: see edgekit.analyze.pattern.
    `moved_bytes` are those of its inputs, outputs and constants.
    """

    step: int
    operator: str
    output: tuple[int, ...]
    kernel: str
    macs: int
    effective_macs: int
    zeros: float | None
    pattern: str
    constant_bytes: int
    moved_bytes: int
    note: str
    time_us: float | None = None
    share: float | None = None

    def row(self) -> list[str]:
        """The cells of a table with COLUMNS as its head."""
        return [
            str(self.step), self.operator, "x".join(map(str, self.output)), self.kernel,
            f"{self.macs / 1e6:.2f}" if self.macs else "",
            f"{self.effective_macs / 1e6:.2f}" if self.macs else "",
            "" if self.zeros is None else f"{self.zeros:.0%}", self.pattern,
            f"{self.constant_bytes / 1024:.1f}" if self.constant_bytes else "",
            "" if self.time_us is None else f"{self.time_us:.1f}",
            "" if self.share is None else f"{self.share:.1%}", self.note,
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All lines of a model and what they add up to."""

    title: str
    lines: tuple[Line, ...]
    arena_bytes: int
    constant_bytes: int
    total_us: float | None

    @property
    def summary(self) -> str:
        macs = sum(line.macs for line in self.lines)
        effective = sum(line.effective_macs for line in self.lines)
        words = [
            f"{len(self.lines)} steps", f"{macs / 1e6:.1f} million multiply-adds if dense",
            f"{effective / 1e6:.1f} million without zeros",
            f"weights {self.constant_bytes / 1024:.0f} kB as packed",
            f"arena {self.arena_bytes / 1024:.0f} kB",
        ]  # fmt: skip
        if self.total_us:
            speed = macs / self.total_us / 1000
            words.append(f"{self.total_us / 1000:.3f} ms, {speed:.0f} GMAC/s as if dense")
        return ", ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, by the names of the fields."""
        return asdict(self)


def analyze(
    name: str, isa: str | None = None, threads: int = 1, *, exact: bool = False, timed: bool = True
) -> Report:
    """Plan a model for this machine or, with `isa`, for another; `timed` runs it here, step by step.

    Raises UsageError for an unknown level, ModelError for a model that the native engine does not run.
    """
    level = _level(isa, timed=timed)
    file, _ = find_file(name)
    graph = plan.prepare(model.read(file))
    if reason := plan.refusal(graph):
        raise ModelError(f"{name}: the native engine cannot run {reason}")
    if not timed:
        return _report(name, graph, plan.build(graph, level, exact=exact, threads=threads), threads, None)
    native = engine.NativeEngine(graph, threads, exact=exact, isa=level)
    inputs = random_inputs(native.inputs)
    runs = [native.profile(inputs) for _ in range(WARM_UP + RUNS)][WARM_UP:]
    return _report(name, graph, native.plan, threads, [1e6 * float(t) for t in np.median(runs, axis=0)])


def _level(isa: str | None, *, timed: bool) -> str:
    if isa is None:
        return engine.native_level()
    if isa not in costs.UNITS:
        raise UsageError(f"--isa {isa}: expected one of {', '.join(costs.UNITS)}")
    if timed and isa not in engine.native_levels():
        raise UsageError(f"--isa {isa}: this CPU cannot run it; --no-time plans for it all the same")
    return isa


def _report(name: str, graph: Graph, made: Plan, threads: int, times_us: Sequence[float] | None) -> Report:
    return Report(
        f"{name}, {made.isa}, {threads} thread{'s' * (threads > 1)}", tuple(explain(graph, made, times_us)),
        made.arena_bytes, made.constant_bytes, sum(times_us) if times_us else None,
    )  # fmt: skip


def explain(graph: Graph, plan: Plan, times_us: Sequence[float] | None = None) -> list[Line]:
    """A line for each step of the plan of the graph; `times_us` has the time of each, where it was taken."""
    total = (sum(times_us) if times_us else 0) or 1
    lines, seen = [], set()
    for number, (step, operator) in enumerate(zip(plan.steps, plan.operators, strict=True)):
        op = _planned(graph, plan, step, operator)
        spent = times_us[number] if times_us else None
        macs = multiply_adds(graph, op) if op and operator not in seen else 0
        seen.add(operator)
        weights = _weights(graph, op) if op else None
        zeros = None if weights is None else float(1 - np.count_nonzero(weights) / weights.size)
        line = Line(
            number, op.kind if op else "", graph.tensors[op.outputs[0]].shape if op else (), step.family,
            macs, round(macs * (1 - (zeros or 0))), zeros, "" if weights is None else pattern_of(weights),
            step.constant_bytes, step.constant_bytes + (_moved_bytes(graph, op) if op else 0), step.note,
            spent,
            None if spent is None else spent / total,
        )  # fmt: skip
        lines.append(line)
    return lines


def _planned(graph: Graph, plan: Plan, step: Step, number: int) -> Op | None:
    """The operator that a step does most of its work for: of an ADD with a convolution in it, that."""
    if not 0 <= number < len(graph.ops):
        return None
    op = graph.ops[number]
    if step.family != "conv" or op.kind in WEIGHTED:
        return op
    others = {graph.ops[n].outputs for n in plan.operators if 0 <= n < len(graph.ops)}
    makers = [graph.producer[i] for i in op.inputs if i in graph.producer]
    return next((m for m in makers if m.kind in WEIGHTED and m.outputs not in others), op)


def _moved_bytes(graph: Graph, op: Op) -> int:
    """Of what is computed and goes in and out."""
    ends = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
    return sum(tensor.size_bytes for tensor in ends if tensor.data is None)


def _weights(graph: Graph, op: Op) -> NDArray[Any] | None:
    data = graph.tensors[op.inputs[1]].data if op.kind in WEIGHTED else None
    return None if data is None or not data.size else data
