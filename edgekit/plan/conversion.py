"""Numbers of one type to another: QUANTIZE, DEQUANTIZE, CAST, and operators whose result is known before."""

from __future__ import annotations

import math

import numpy as np

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import codes, multiplier, multiply, stored
from edgekit.plan.lowering import (
    BYTES,
    FLOAT,
    Lower,
    Lowering,
    dense,
    need,
    scale_of,
    type_number,
    zero_point_of,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Source, Strided, copy
from edgekit.plan.unary import look_up

_PAIRS = {
    "int8": ("int8", "uint8"), "uint8": ("int8", "uint8"), "int16": ("int8", "int16", "int32"),
    "int32": ("int8", "int16"), "float32": ("int8", "uint8", "int16"),
}  # fmt: skip


def _one_scale(*tensors: Tensor) -> None:
    for tensor in tensors:
        need(
            tensor.scale is not None and len(tensor.scale) == 1, f"a {tensor.dtype} tensor without one scale"
        )


def _ends(job: Lowering) -> tuple[Tensor, Tensor]:
    job.takes(1)
    job.shaped(job.inputs[0].shape)
    return job.inputs[0], job.result


def _convert(job: Lowering, family: str, whole: Tensor, **fields: float) -> list[Step]:
    count = math.prod(job.result.shape)
    common = {"output": job.output(), "count": count, "type": type_number(whole)}
    return [Step(family, {**job.source(0).fields(), **common, **fields})]


def quantize(job: Lowering) -> list[Step]:
    source, result = _ends(job)
    need(str(result.dtype) in _PAIRS.get(str(source.dtype), ()), f"{source.dtype} to {result.dtype}")
    if source.dtype == FLOAT:
        _one_scale(result)
        return _convert(
            job, "quantize", result, scale=float(scale_of(result)), zero_point=zero_point_of(result)
        )
    _one_scale(source, result)
    factor = multiplier(float(scale_of(source)) / float(scale_of(result)))
    if source.dtype in BYTES:
        values = multiply(codes(source) - zero_point_of(source), factor) + zero_point_of(result)
        return look_up(job, stored(values, result))
    return _convert(
        job, "requantize", source, output_type=type_number(result), multiplier=factor[0], shift=factor[1],
        zero_point=zero_point_of(source), output_zero_point=zero_point_of(result),
    )  # fmt: skip


def dequantize(job: Lowering) -> list[Step]:
    source, result = _ends(job)
    need(source.dtype in (*BYTES, np.int16) and result.dtype == FLOAT, f"{source.dtype} to {result.dtype}")
    _one_scale(source)
    return _convert(
        job, "dequantize", source, scale=float(scale_of(source)), zero_point=zero_point_of(source)
    )


def cast(job: Lowering) -> list[Step]:
    source, result = _ends(job)
    need(result.dtype != np.bool_ or source.dtype == np.bool_, f"{source.dtype} to bool")
    need(source.dtype != FLOAT or result.dtype.itemsize >= 4, f"{source.dtype} to {result.dtype}")
    return _convert(job, "cast", source, output_type=type_number(result))


def shape(job: Lowering) -> list[Step]:
    """The shape is known before; nothing of the input is looked at."""
    job.takes(1)
    need(job.result.dtype in (np.int32, np.int64), f"a shape that is {job.result.dtype}")
    job.shaped((len(job.inputs[0].shape),))
    numbers = np.array(job.inputs[0].shape, job.result.dtype)
    return _constant(job, numbers)


def rank(job: Lowering) -> list[Step]:
    """The number of axes, known before."""
    job.takes(1)
    need(job.result.dtype == np.int32, f"a rank that is {job.result.dtype}")
    job.shaped(())
    return _constant(job, np.array(len(job.inputs[0].shape), np.int32))


def range_(job: Lowering) -> list[Step]:
    """Numbers a step apart, of constants: else their count is not known before."""
    job.takes(3)
    known = all(t.data is not None and math.prod(t.shape) == 1 for t in job.inputs)
    need(known, "a range of numbers that are computed")
    need(all(t.dtype == job.result.dtype for t in job.inputs), "numbers of different types")
    need(job.result.dtype in (FLOAT, np.int32, np.int64), f"{job.result.dtype}")
    start, limit, step = (np.asarray(tensor.data).reshape(()) for tensor in job.inputs)
    need(step, "a step of 0")
    count = max(0, math.ceil((float(limit) - float(start)) / float(step)))
    job.shaped((count,))
    return _constant(job, start + np.arange(count, dtype=start.dtype) * step)


def zeros_like(job: Lowering) -> list[Step]:
    _, result = _ends(job)
    return _constant(job, np.zeros((), result.dtype))


def fill(job: Lowering) -> list[Step]:
    job.takes(2)
    need(job.inputs[1].dtype == job.result.dtype and not job.inputs[1].shape, "a value that is no number")
    job.shaped([int(n) for n in job.constant(0, "sizes").ravel()])
    item = job.result.dtype.itemsize
    view = Strided((), ()).broadcast(job.result.shape)
    return copy(job.source(1), view, job.output(), dense(job.result), item)


def _constant(job: Lowering, numbers: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> list[Step]:
    item = job.result.dtype.itemsize
    view = Strided.dense(numbers.shape, item).broadcast(job.result.shape)
    return copy(Source(0, numbers), view, job.output(), dense(job.result), item)


CONVERSIONS: dict[str, Lower] = {
    "CAST": cast,
    "DEQUANTIZE": dequantize,
    "FILL": fill,
    "QUANTIZE": quantize,
    "RANGE": range_,
    "RANK": rank,
    "SHAPE": shape,
    "ZEROS_LIKE": zeros_like,
}
