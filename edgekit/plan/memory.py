"""What a model adds to the process at its peak, by engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.model.graph import Graph
from edgekit.plan.building import Plan
from edgekit.plan.step import Step

Share = tuple[float, float, int]  # bytes of a weight, of a packed byte, and at all


@dataclass(frozen=True)
class Habits:
    """What planning for a level takes, as measured; all but the factors in bytes."""

    overhead: int  # what the process touches of code and tables, less what it had spare
    convolutions: int  # the same for convolutions
    operator: int  # Python's objects, in the graph and in the plan
    layer: int  # those that come with weights
    packing: Mapping[str, Share]  # while a layer of a family is packed
    most_of_weights: float = math.inf  # of that, where a layer is small
    holes: float = 0.0  # that packing leaves in memory, a byte that is packed,
    most_with_holes: int = 0  # of each layer: where more is packed it has pages of its own


_WIDE = Habits(
    1_140_000, 1_050_000, 2_000, 13_500,
    {"conv": (1.5, 0.0, 400_000), "depthwise": (1.5, 0.0, 400_000), "fc": (0.4, 0.0, 60_000)}, 2.0,
)  # fmt: skip
# AVX2 looks at pairs of weights, which takes more for a while
_NARROW = Habits(
    824_000, 1_128_000, 3_050, 6_050,
    {"conv": (1.24, 1.22, 34_500), "depthwise": (1.25, 1.22, 59_500), "fc": (0.11, 1.22, 0)},
    holes=0.63, most_with_holes=72_500,
)  # fmt: skip
# As measured, like these
UNFOLDED = 1.25  # a byte that was sparse in the file, with the holes in memory that unfolding leaves
TFLITE_OVERHEAD_BYTES = 16 * 2**20  # LiteRT's libraries and its interpreter
TFLITE_COPIES = 4  # of the constants


def native_bytes(graph: Graph, plan: Plan) -> int:
    """The file, and what is packed, with the layer that is being packed or with the arena.

    `plan` is that of the graph. With AVX512-VNNI 26 networks of 2 to 62 MB were within 5 % of what the
    process grows by, with AVX2 31 of 36 and the others within 7 %; pages of code differ by machine.
    """
    habits = _NARROW if plan.isa == "avx2" else _WIDE
    packed = most = 0
    for step, number in zip(plan.steps, plan.operators, strict=True):
        packed += step.constant_bytes
        most = max(most, packed + _packing_bytes(graph, habits, step, number))
    convolves = any(step.family == "conv" for step in plan.steps)
    overhead = habits.overhead + habits.convolutions * convolves + habits.operator * len(graph.ops)
    overhead += habits.layer * sum(step.family in habits.packing for step in plan.steps)
    holes = int(sum(habits.holes * min(step.constant_bytes, habits.most_with_holes) for step in plan.steps))
    return overhead + holes + held_bytes(graph) + max(most, packed + plan.arena_bytes)


def _packing_bytes(graph: Graph, habits: Habits, step: Step, number: int) -> int:
    if step.family not in habits.packing or not 0 <= number < len(graph.ops):
        return 0
    weights = math.prod(graph.tensors[graph.ops[number].inputs[1]].shape)
    of_weight, of_packed, more = habits.packing[step.family]
    takes = of_weight * weights + of_packed * step.constant_bytes + more
    return int(min(takes, habits.most_of_weights * weights))


def held_bytes(graph: Graph) -> int:
    """What the constants keep in memory: the file as long as one of them is a part of it, and all others."""
    holders = {id(h): h for h in (_holder(t.data) for t in graph.tensors if t.data is not None)}
    sizes = {True: 0, False: 0}  # of arrays, and of files
    for holder in holders.values():
        sizes[isinstance(holder, np.ndarray)] += memoryview(holder).nbytes
    return sizes[False] + int(sizes[True] * (UNFOLDED if sizes[False] else 1))


def _holder(data: Any) -> Any:
    """The object whose memory an array shows."""
    while isinstance(data, np.ndarray) and data.base is not None:
        data = data.base
    return data.obj if isinstance(data, memoryview) else data


def tflite_bytes(graph: Graph) -> int:
    """The file as it was read, as it is written anew and as LiteRT packs it; pointers; the arena."""
    constants = TFLITE_COPIES * sum(_constant_sizes(graph))
    return TFLITE_OVERHEAD_BYTES + constants + _pointer_bytes(graph) + peak_live_bytes(graph)


def peak_live_bytes(graph: Graph) -> int:
    """The most that the tensors which are needed at the same time take: no layout can do with less."""
    steps = np.zeros(len(graph.ops) + 2, np.int64)
    for index, (first, last) in _lives(graph).items():
        steps[first] += graph.tensors[index].size_bytes
        steps[last + 1] -= graph.tensors[index].size_bytes
    return int(np.cumsum(steps).max())


def _lives(graph: Graph) -> dict[int, tuple[int, int]]:
    """First and last operator that needs each computed tensor; a RESHAPE shares the memory of its input."""
    root = {i: i for i in graph.inputs}
    lives = dict.fromkeys(graph.inputs, (0, 0))
    for number, op in enumerate(graph.ops):
        for i in op.outputs:
            root[i] = root.get(op.inputs[0], i) if op.kind == "RESHAPE" and op.inputs else i
        for i in (*op.inputs, *op.outputs):
            if i in root:
                lives[root[i]] = (lives.get(root[i], (number, number))[0], number)
    for i in graph.outputs:
        if i in root:
            lives[root[i]] = (lives[root[i]][0], len(graph.ops))
    return lives


def _constant_sizes(graph: Graph) -> list[int]:
    return [tensor.size_bytes for tensor in graph.tensors if tensor.data is not None]


def _pointer_bytes(graph: Graph) -> int:
    """XNNPACK holds a pointer for every pixel that a window of a convolution covers, for every window."""
    total = 0
    for op in graph.ops:
        is_whole = len(op.inputs) > 1 and op.inputs[1] >= 0 and op.outputs  # nobody has checked it yet
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and is_whole:
            weights, result = graph.tensors[op.inputs[1]].shape, graph.tensors[op.outputs[0]].shape
            window = math.prod(weights[1:3])
            total += 8 * window * math.prod(result[1:3]) if window > 1 else 0
    return total
