"""Graph to plan: what the native engine runs, with every decision made and every weight packed.

`refusal` says why a graph cannot be planned, `build` plans it. A plan is checked here, once, so that the C
code can trust it: sizes, scales, sums that stay within 32 bits.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit import fully_connected
from edgekit.fully_connected import ALIGNMENT, FullyConnected, is_int8, scale_of, zero_point_of
from edgekit.graph import Graph, Op
from edgekit.operators import new_shape

MAX_OPS = 4096  # the layout of the arena takes the square of it


@dataclass(frozen=True)
class Convert:
    """A change of type: `kind` is "quantize" (float32 to int8) or "dequantize" (int8 to float32)."""

    kind: str
    input: int
    output: int
    count: int
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Plan:
    """Steps over one arena. `input` and `output` of a step, and the pairs here, are byte offsets in it."""

    steps: tuple[FullyConnected | Convert, ...]
    arena_bytes: int
    inputs: tuple[tuple[int, int], ...]  # offset, size
    outputs: tuple[tuple[int, int], ...]


def refusal(graph: Graph) -> str | None:
    """Why the native engine cannot run the graph, naming the first operator that it lacks; None if it can."""
    if len(graph.ops) > MAX_OPS:
        return f"{len(graph.ops)} operators; {MAX_OPS} are the most"
    for number, op in enumerate(graph.ops):
        check = _CHECKS.get(op.kind)
        reason = check(graph, op) if check else "not among the native kernels"
        if reason:
            return f"operator {number} {op.kind}: {reason}"
    if any(graph.tensors[i].data is not None for i in graph.outputs):
        return "an output that is a constant"
    return None


def build(graph: Graph) -> Plan:
    """Plan a graph for which `refusal` is None."""
    offsets, arena_bytes = lay_out(graph)
    steps: list[FullyConnected | Convert] = []
    for op in graph.ops:
        tensors = [graph.tensors[i] for i in (op.inputs[0], op.outputs[0])]
        places = offsets[op.inputs[0]], offsets[op.outputs[0]]
        if op.kind == "FULLY_CONNECTED":
            steps.append(fully_connected.pack(graph, op, *places))
        elif op.kind in ("QUANTIZE", "DEQUANTIZE"):
            quantised = tensors[op.kind == "QUANTIZE"]
            count = math.prod(quantised.shape)
            steps.append(
                Convert(op.kind.lower(), *places, count, scale_of(quantised), zero_point_of(quantised))
            )
    sizes = [
        [(offsets[i], graph.tensors[i].size_bytes) for i in ends] for ends in (graph.inputs, graph.outputs)
    ]
    return Plan(tuple(steps), arena_bytes, tuple(sizes[0]), tuple(sizes[1]))


def lay_out(graph: Graph) -> tuple[dict[int, int], int]:
    """Where each computed tensor lies in one arena, and how large that is.

    Tensors that are needed at the same time do not overlap; a RESHAPE shares the place of its input. The
    largest are placed first, each as low as it fits.
    """
    root = _roots(graph)
    lives = _lives(graph, root)
    placed: list[tuple[int, int, int]] = []  # offset, end, tensor
    for index in sorted(lives, key=lambda i: (-graph.tensors[i].size_bytes, i)):
        size = -(-max(graph.tensors[index].size_bytes, 1) // ALIGNMENT) * ALIGNMENT
        start = 0
        for low, high, other in placed:
            together = lives[index][0] <= lives[other][1] and lives[other][0] <= lives[index][1]
            if together and low < start + size:
                start = max(start, high)
        insort(placed, (start, start + size, index))
    at = {index: low for low, _, index in placed}
    offsets = {i: at[r] for i, r in root.items() if r in at}
    return offsets, max((high for _, high, _ in placed), default=0)


def peak_live_bytes(graph: Graph) -> int:
    """The most that the tensors which are needed at the same time take: no layout can do with less."""
    lives = _lives(graph, _roots(graph))
    steps = np.zeros(len(graph.ops) + 2, np.int64)
    for index, (first, last) in lives.items():
        steps[first] += graph.tensors[index].size_bytes
        steps[last + 1] -= graph.tensors[index].size_bytes
    return int(np.cumsum(steps).max())


def _roots(graph: Graph) -> dict[int, int]:
    """For every computed tensor the one whose memory it shares: itself, but for a RESHAPE."""
    root = {i: i for i in graph.inputs}
    for op in graph.ops:
        for i in op.outputs:
            root[i] = root.get(op.inputs[0], i) if op.kind == "RESHAPE" and op.inputs else i
    return root


def _lives(graph: Graph, root: dict[int, int]) -> dict[int, tuple[int, int]]:
    """First and last operator that needs each root; graph inputs live from the start, outputs to the end."""
    lives = dict.fromkeys(graph.inputs, (0, 0))
    for number, op in enumerate(graph.ops):
        for i in (*op.inputs, *op.outputs):
            if i in root:
                first, _ = lives.get(root[i], (number, number))
                lives[root[i]] = (first, number)
    for i in graph.outputs:
        if i in root:
            lives[root[i]] = (lives[root[i]][0], len(graph.ops))
    return lives


def _check_convert(graph: Graph, op: Op) -> str | None:
    if len(op.inputs) != 1 or len(op.outputs) != 1 or op.inputs[0] < 0:
        return "it takes one tensor and gives one"
    ends = [graph.tensors[i] for i in (op.inputs[0], op.outputs[0])]
    whole, real = ends if op.kind == "DEQUANTIZE" else reversed(ends)
    if not is_int8(whole) or real.dtype != np.float32 or real.data is not None or real.is_variable:
        return "only int8 with one scale to or from float32"
    return None if whole.shape == real.shape else f"shapes {list(ends[0].shape)} and {list(ends[1].shape)}"


def _check_reshape(graph: Graph, op: Op) -> str | None:
    if len(op.inputs) not in (1, 2) or len(op.outputs) != 1 or op.inputs[0] < 0:
        return "it takes a tensor and a shape and gives a tensor"
    inputs, result = [graph.tensors[i] for i in op.inputs if i >= 0], graph.tensors[op.outputs[0]]
    source = inputs[0]
    if source.data is not None or source.is_variable or result.is_variable:
        return "a constant or a variable"
    if source.dtype != result.dtype or new_shape(op, inputs) != result.shape:
        return f"{source.dtype} {list(source.shape)} to {result.dtype} {list(result.shape)}"
    return None


_CHECKS: dict[str, Callable[[Graph, Op], str | None]] = {
    "FULLY_CONNECTED": fully_connected.check,
    "QUANTIZE": _check_convert,
    "DEQUANTIZE": _check_convert,
    "RESHAPE": _check_reshape,
}
