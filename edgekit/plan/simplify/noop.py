"""Removes operators that hand on what they get, and makes plain RESHAPEs of all that only rename axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgekit.model.graph import MAX_RANK, Graph, Op, Tensor
from edgekit.plan.simplify.draft import Draft, rewrite
from edgekit.plan.simplify.values import strided, whole

Test = Callable[[Op, list[Tensor]], bool]
_MAX_RATIO = 1024  # of scales, up to which adding a zero is exact in the reference kernels' fixed point
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def remove_noops(graph: Graph) -> Graph:
    return rewrite(graph, _drop)


def _drop(draft: Draft, op: Op) -> bool:
    """Whether the operator went; `Draft.alias` checks that input and output are of one shape and scale."""
    if not op.inputs or op.inputs[0] < 0 or len(op.outputs) != 1:
        return False
    if op.kind == "QUANTIZE" and (before := draft.source(op.inputs[0])) and before.kind == "DEQUANTIZE":
        return (
            len(before.inputs) == 1 and before.inputs[0] >= 0 and draft.alias(op.outputs[0], before.inputs[0])
        )
    if op.kind in ("MUL", "ADD") and len(op.inputs) == 2 and _is_constant(draft.tensor(op.inputs[0])):
        op = Op(op.kind, op.inputs[::-1], op.outputs, op.options, op.version)
    test = _NOOPS.get(op.kind)
    return bool(test and test(op, draft.inputs(op)) and draft.alias(op.outputs[0], op.inputs[0]))


def _is_constant(tensor: Tensor) -> bool:
    return tensor.data is not None


def _always(op: Op, inputs: list[Tensor]) -> bool:
    del op, inputs
    return True


def _transpose(op: Op, inputs: list[Tensor]) -> bool:
    del op
    order = permutation(inputs)
    return order is not None and order == tuple(range(len(order)))


def permutation(inputs: list[Tensor]) -> tuple[int, ...] | None:
    """The axes that a TRANSPOSE takes, None unless they are a constant permutation."""
    if len(inputs) != 2 or inputs[1].data is None or inputs[1].dtype not in (np.int32, np.int64):
        return None
    order, rank = inputs[1].data.ravel().tolist(), len(inputs[0].shape)
    order = [axis + rank if axis < 0 else axis for axis in order]
    return tuple(order) if sorted(order) == list(range(rank)) else None


def _pad(op: Op, inputs: list[Tensor]) -> bool:
    del op
    return len(inputs) > 1 and inputs[1].data is not None and not np.any(inputs[1].data)


def _slice(op: Op, inputs: list[Tensor]) -> bool:
    del op
    return len(inputs) == 3 and inputs[1].data is not None and not np.any(inputs[1].data)


def _strided_slice(op: Op, inputs: list[Tensor]) -> bool:
    if len(inputs) != 4 or not all(map(_is_constant, inputs[1:])) or len({t.shape for t in inputs[1:]}) != 1:
        return False
    ranges = strided(op, inputs) or []
    sizes = zip(ranges, inputs[0].shape, strict=False)
    return bool(ranges) and len(ranges) <= len(inputs[0].shape) and all(map(_takes_all, sizes))


def _takes_all(axis: tuple[slice | int, int]) -> bool:
    part, size = axis
    return isinstance(part, slice) and part.step == 1 and part.indices(size) == (0, size, 1)


def _concatenation(op: Op, inputs: list[Tensor]) -> bool:
    return len(op.inputs) == len(inputs) == 1 and _no_activation(op)


def _no_activation(op: Op) -> bool:
    return op.options["fused_activation_function"] == "NONE"


def _resize(op: Op, inputs: list[Tensor]) -> bool:
    exact = op.kind == "RESIZE_NEAREST_NEIGHBOR" or inputs[0].dtype.kind in "iu"
    return exact and len(inputs) == 2 and _is_constant(inputs[1])


def _pool(op: Op, inputs: list[Tensor]) -> bool:
    del inputs
    sizes = [whole(op, name) for name in ("filter_height", "filter_width", "stride_h", "stride_w")]
    return sizes == [1, 1, 1, 1] and _no_activation(op)


def _neutral(unit: float) -> Test:
    """A binary operator whose second input is a constant that stands for `unit` everywhere."""

    def test(op: Op, inputs: list[Tensor]) -> bool:
        if len(inputs) != 2 or inputs[1].data is None or not _no_activation(op):
            return False
        first, second = inputs
        if first.dtype == second.dtype == np.float32:
            unsigned = unit == 0 and op.kind == "ADD"  # -0 + 0 is 0
            return not unsigned and bool(np.all(second.data == np.float32(unit)))
        if first.dtype not in (np.int8, np.uint8) or first.scale is None or second.scale is None:
            return False
        stored = np.asarray(second.data, np.float64) - np.asarray(second.zero_point)
        near = float(second.scale[0]) <= _MAX_RATIO * float(first.scale[0])
        return near and bool(np.all(np.abs(stored * float(second.scale[0]) - unit) <= 1e-6 * unit))

    return test


_NOOPS: dict[str, Test] = {
    "QUANTIZE": _always, "TRANSPOSE": _transpose, "PAD": _pad, "PADV2": _pad, "MIRROR_PAD": _pad,
    "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "CONCATENATION": _concatenation,
    "RESIZE_NEAREST_NEIGHBOR": _resize, "RESIZE_BILINEAR": _resize,
    "MAX_POOL_2D": _pool, "AVERAGE_POOL_2D": _pool,
    "MUL": _neutral(1.0), "ADD": _neutral(0.0), "SUB": _neutral(0.0),
}  # fmt: skip


def merge_reshapes(graph: Graph) -> Graph:
    """One RESHAPE, with its shape as an option, for a row of them; none where the shape stays.

    SQUEEZE, EXPAND_DIMS and a TRANSPOSE that only moves axes of size 1 count as RESHAPEs.
    """
    return rewrite(graph, _merge)


def _merge(draft: Draft, op: Op) -> bool:
    if not op.inputs or op.inputs[0] < 0 or len(op.outputs) != 1 or not _is_reshape(draft, op):
        return False
    source, result = draft.now(op.inputs[0]), op.outputs[0]
    if (before := draft.source(source)) and before.kind == "RESHAPE" and len(before.inputs) == 1:
        source = before.inputs[0]
    if draft.alias(result, source):
        return True
    draft.emit(Op("RESHAPE", (source,), (result,), {"new_shape": draft.tensor(result).shape}))
    return True


def _is_reshape(draft: Draft, op: Op) -> bool:
    inputs, result = draft.inputs(op), draft.tensor(op.outputs[0])
    source = inputs[0]
    if source.dtype != result.dtype or math.prod(source.shape) != math.prod(result.shape):
        return False
    if (
        _is_constant(source)
        or source.is_variable
        or not 0 < len(result.shape) <= MAX_RANK
        or 0 in result.shape
    ):
        return False
    if op.kind == "TRANSPOSE":
        order = permutation(inputs)
        return order is not None and keeps_bytes(source.shape, order)
    return op.kind in _RESHAPES and all(map(_is_constant, inputs[1:]))


def keeps_bytes(shape: tuple[int, ...], order: tuple[int, ...]) -> bool:
    """Whether a TRANSPOSE leaves the data where it is: it only moves axes of size 1."""
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)
