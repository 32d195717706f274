"""What shape-like operators make of constants, computed as TFLite's reference kernels do.

Each function takes the operator, the constants that it reads and its result, and gives the result's data or
None where it does not know. Whether the data fits the result is checked by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Op, Tensor
from edgekit.plan.simplify.arithmetic import dequantize, quantize, requantize
from edgekit.plan.simplify.draft import same_scales

Array = NDArray[Any]
Value = Callable[[Op, Sequence[Tensor], Tensor], Array | None]


def data_of(tensor: Tensor) -> Array:
    """The data of a constant, one without elements too."""
    return np.zeros(tensor.shape, tensor.dtype) if tensor.data is None else tensor.data


def whole(op: Op, name: str) -> int:
    """An option that is a whole number."""
    return int(op.options[name])  # type: ignore[arg-type]


def _reshape(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array:
    del op
    return data_of(inputs[0]).reshape(result.shape)


def _transpose(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array:
    del op, result
    return data_of(inputs[0]).transpose(data_of(inputs[1]).tolist())


def _pack(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    if not same_scales(*inputs, result):
        return None
    return np.stack([data_of(tensor) for tensor in inputs], whole(op, "axis"))


def _concatenation(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    if op.options["fused_activation_function"] != "NONE" or not same_scales(*inputs, result):
        return None
    return np.concatenate([data_of(tensor) for tensor in inputs], whole(op, "axis"))


def _gather(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    del result
    places = data_of(inputs[1])
    if whole(op, "batch_dims") or places.dtype.kind != "i" or places.min(initial=0) < 0:
        return None
    return np.take(data_of(inputs[0]), places, whole(op, "axis"))


def _slice(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array:
    del op
    starts = data_of(inputs[1]).tolist()
    ranges = [slice(start, start + size) for start, size in zip(starts, result.shape, strict=True)]
    return data_of(inputs[0])[tuple(ranges)]


def strided(op: Op, inputs: Sequence[Tensor]) -> list[slice | int] | None:
    """What a STRIDED_SLICE takes of each axis; None where its options are not simple."""
    if op.options["ellipsis_mask"] or op.options["new_axis_mask"] or op.options["offset"]:
        return None
    begins, ends, steps = (data_of(tensor).tolist() for tensor in inputs[1:4])
    ranges: list[slice | int] = []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        bit = 1 << axis
        if whole(op, "shrink_axis_mask") & bit:
            ranges.append(begin)
            continue
        start = None if whole(op, "begin_mask") & bit else begin
        ranges.append(slice(start, None if whole(op, "end_mask") & bit else end, step))
    return ranges


def _strided_slice(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    del result
    ranges = strided(op, inputs)
    return None if ranges is None else np.asarray(data_of(inputs[0])[tuple(ranges)])


def _cast(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    """Only what every way of rounding leaves as it is."""
    del op
    given = data_of(inputs[0])
    with np.errstate(invalid="ignore", over="ignore"):
        cast = given.astype(result.dtype)
        return cast if np.array_equal(cast.astype(given.dtype), given) else None


def _quantize(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    del op
    source = inputs[0]
    if result.scale is None or len(result.scale) != 1:
        return None
    if source.dtype == np.float32:
        return quantize(data_of(source), result)
    return requantize(source, result)


def _dequantize(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
    del op
    source = inputs[0]
    if source.dtype == np.float16:
        return data_of(source).astype(result.dtype)
    return dequantize(source) if source.scale is not None and len(source.scale) == 1 else None


def _arithmetic(function: np.ufunc) -> Value:
    def compute(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Array | None:
        numbers = [data_of(tensor) for tensor in inputs]
        plain = all(array.dtype in (np.int32, np.int64) for array in numbers)
        if not plain or op.options.get("fused_activation_function", "NONE") != "NONE":
            return None
        if any(np.any(np.abs(array.astype(np.float64)) >= 2**31) for array in numbers):
            return None
        exact = function(*(array.astype(np.int64) for array in numbers))
        cast = exact.astype(result.dtype)
        return cast if np.array_equal(cast, exact) else None

    return compute


VALUES: dict[str, Value] = {
    "RESHAPE": _reshape, "SQUEEZE": _reshape, "EXPAND_DIMS": _reshape, "DENSIFY": _reshape,
    "TRANSPOSE": _transpose, "PACK": _pack, "CONCATENATION": _concatenation, "GATHER": _gather,
    "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "CAST": _cast, "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize, "ADD": _arithmetic(np.add), "SUB": _arithmetic(np.subtract),
    "MUL": _arithmetic(np.multiply), "MAXIMUM": _arithmetic(np.maximum), "MINIMUM": _arithmetic(np.minimum),
}  # fmt: skip
