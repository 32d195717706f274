"""A network that takes several inputs at once, made of one that takes one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor

# Operators that treat every image of a batch alike, whatever the batch is called in their shapes.
_ALIKE = frozenset(
    """
    ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE PRELU LOGISTIC TANH HARD_SWISH LEAKY_RELU RELU RELU6
    RELU_N1_TO_1 ELU GELU ABS NEG EXP LOG RSQRT SQRT SQUARE QUANTIZE DEQUANTIZE CAST SOFTMAX LOG_SOFTMAX
    CONV_2D DEPTHWISE_CONV_2D AVERAGE_POOL_2D MAX_POOL_2D FULLY_CONNECTED RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH DEPTH_TO_SPACE L2_NORMALIZATION
    """.split()  # noqa: SIM905
)


def batched(graph: Graph, count: int) -> Graph:
    """The network for `count` images: every computed tensor has the first axis `count` times as long.

    Raises ModelError, naming the operator, where images of a batch would not be kept apart.
    """
    tensors = list(graph.tensors)
    computed = {*graph.inputs, *(i for op in graph.ops for i in op.outputs)}
    for index in computed:
        tensors[index] = _longer(tensors[index], count)
    ops = []
    for number, op in enumerate(graph.ops):
        inputs = [graph.tensors[i] for i in op.inputs if i >= 0]
        change = _CHANGES.get(op.kind, _keep if op.kind in _ALIKE else None)
        constants = change(op, inputs, graph.tensors[op.outputs[0]], count) if change else None
        if constants is None:
            raise ModelError(f"operator {number} {op.kind} does not keep the images of a batch apart")
        ops.append(_with_constants(op, constants, tensors))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _longer(tensor: Tensor, count: int) -> Tensor:
    if not tensor.shape or tensor.shape[0] != 1:
        shape = list(tensor.shape)
        raise ModelError(f"tensor {tensor.name!r} {shape} has no first axis of 1 to put a batch on")
    return replace(tensor, shape=(count, *tensor.shape[1:]))


Constants = dict[int, Sequence[int]]  # by the number of the input
Change = Callable[[Op, list[Tensor], Tensor, int], Constants | None]


def _keep(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del op, inputs, result, count
    return {}


def _reshape(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del op
    del inputs
    return {1: (count, *result.shape[1:])}


def _axes(number: int) -> Change:
    """Operators whose axes stand in the input of that number: none may be the first."""

    def change(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
        del op, result, count
        data, rank = inputs[number].data, max(len(t.shape) for t in inputs)
        return None if data is None or any(int(a) % rank == 0 for a in data.reshape(-1)) else {}

    return change


def _option_axis(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del inputs, count
    return None if int(op.options["axis"]) % len(result.shape) == 0 else {}  # type: ignore[arg-type]


def _transpose(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del op, result, count
    return {} if inputs[1].data is not None and int(inputs[1].data[0]) == 0 else None


def _pad(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del op, result, count
    return {} if inputs[1].data is not None and not inputs[1].data[0].any() else None


def _slice(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del op
    if any(t.data is None for t in inputs[1:3]) or int(inputs[1].data[0]) != 0:  # type: ignore[index]
        return None
    return {2: (count, *result.shape[1:])}


def _strided_slice(op: Op, inputs: list[Tensor], result: Tensor, count: int) -> Constants | None:
    del result
    begin, end, strides = (t.data for t in inputs[1:4])
    names = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = [int(op.options[name]) & 1 for name in names]  # type: ignore[arg-type]
    if begin is None or end is None or strides is None or any(masks) or strides[0] != 1 or begin[0] != 0:
        return None
    return {2: (count, *(int(i) for i in end[1:]))}


_CHANGES: dict[str, Change] = {
    "RESHAPE": _reshape,
    "CONCATENATION": _option_axis,
    "SPLIT": _axes(0),
    "MEAN": _axes(1),
    "SUM": _axes(1),
    "REDUCE_MAX": _axes(1),
    "ARG_MAX": _axes(1),
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
}


def _with_constants(op: Op, constants: Constants, tensors: list[Tensor]) -> Op:
    """The operator with other constants for some inputs, which become tensors of their own."""
    inputs = list(op.inputs)
    for number, values in constants.items():
        data = np.asarray(values, np.int32)
        tensors.append(Tensor(f"batch {len(tensors)}", data.shape, np.dtype(np.int32), data=data))
        inputs[number:] = [len(tensors) - 1, *inputs[number + 1 :]]
    return replace(op, inputs=tuple(inputs))
