"""Tensors that are put together or taken apart along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import codes, is_quantised, nearest, stored
from edgekit.plan.lowering import (
    Lower,
    Lowering,
    axis_of,
    dense,
    equally_scaled,
    move,
    need,
    same_type,
    scale_of,
    zero_point_of,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Strided


def concatenation(job: Lowering) -> list[Step]:
    need(job.op.inputs and min(job.op.inputs) >= 0 and len(job.op.outputs) == 1, "absent inputs")
    need(job.option("fused_activation_function") == "NONE", "an activation")
    result, view, at, steps = job.result, dense(job.result), 0, []
    axis = axis_of(job.whole("axis"), len(result.shape))
    for number, tensor in enumerate(job.inputs):
        fits = len(tensor.shape) == len(result.shape) and tensor.dtype == result.dtype
        need(fits and without(tensor.shape, axis) == without(result.shape, axis), "inputs that do not fit")
        size = tensor.shape[axis]
        need(at + size <= result.shape[axis], "inputs that do not make up the output")
        target = view.slice(axis, at, size)
        if equally_scaled(tensor, result):
            steps += move(job, dense(tensor), target, number)
        else:
            steps += _rescale(job, number, target, axis)
        at += size
    need(at == result.shape[axis], "inputs that do not make up the output")
    return steps


def rescaling(source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """The table from the bytes of one quantisation to those of another, as CONCATENATION has it.

    TFLite does it for uint8 only, in float32; int8 gives the same, 128 below.
    """
    need(is_quantised(source, result), f"{source.dtype} of another scale")
    flip = 128 if source.dtype == np.int8 else 0
    scale = scale_of(source) * (np.float32(1) / scale_of(result))
    x = (codes(source) + flip).astype(np.float32)
    y = nearest(x * scale + np.float32(-(zero_point_of(source) + flip)) * scale)
    need(np.all(np.abs(y) < 2**31), "scales that are too far apart")
    return stored(y.astype(np.int64) + zero_point_of(result), result)


def _rescale(job: Lowering, number: int, target: Strided, axis: int) -> list[Step]:
    """Bytes of another scale, into a view of the output."""
    source, result = job.inputs[number], job.result
    values = rescaling(source, result)
    rows, columns = math.prod(source.shape[:axis]), math.prod(source.shape[axis:])
    if not rows * columns:
        return []
    fields = {
        **job.source(number).fields(), "output": job.output() + target.offset, "rows": rows,
        "columns": columns,
        "input_stride": columns, "output_stride": math.prod(result.shape[axis:]), "item": 1, "table": values,
    }  # fmt: skip
    return [Step("lut", fields)]


def without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def split(job: Lowering) -> list[Step]:
    job.takes(2, outputs=None)
    axis = _axis(job, job.constant(0, "axes"), 1)
    size = job.inputs[1].shape[axis]
    need(size % len(job.op.outputs) == 0, f"{size} into {len(job.op.outputs)} parts")
    return _cut(job, 1, axis, [size // len(job.op.outputs)] * len(job.op.outputs))


def split_v(job: Lowering) -> list[Step]:
    job.takes(3, outputs=None)
    axis = _axis(job, job.constant(2, "axes"), 0)
    sizes = [int(size) for size in job.constant(1, "sizes").ravel()]
    total = job.inputs[0].shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = total - sum(sizes) - 1
    need(sum(sizes) == total and min(sizes) >= 0 and len(sizes) == len(job.op.outputs), f"parts of {sizes}")
    return _cut(job, 0, axis, sizes)


def _axis(job: Lowering, axis: NDArray[Any], number: int) -> int:
    need(axis.size == 1, "an axis that is no single number")
    return axis_of(int(axis.ravel()[0]), len(job.inputs[number].shape))


def _cut(job: Lowering, number: int, axis: int, sizes: list[int]) -> list[Step]:
    """The input cut into the outputs along an axis."""
    source, at, steps = job.inputs[number], 0, []
    for result, size in enumerate(sizes):
        view = dense(source).slice(axis, at, size)
        same_type(source, job.results[result])
        job.shaped(view.shape, result)
        steps += move(job, view, dense(job.results[result]), number, result)
        at += size
    return steps


def unpack(job: Lowering) -> list[Step]:
    job.takes(1, outputs=None)
    source, steps = job.inputs[0], []
    axis = axis_of(job.whole("axis"), len(source.shape))
    need(source.shape[axis] == len(job.op.outputs), f"{source.shape[axis]} into {len(job.op.outputs)} parts")
    shape = source.shape[:axis] + source.shape[axis + 1 :]
    for result, tensor in enumerate(job.results):
        same_type(source, tensor)
        job.shaped(shape, result)
        target = Strided.dense((*source.shape[:axis], 1, *source.shape[axis + 1 :]), tensor.dtype.itemsize)
        steps += move(job, dense(source).slice(axis, result, 1), target, 0, result)
    return steps


def pack(job: Lowering) -> list[Step]:
    need(job.op.inputs and min(job.op.inputs) >= 0 and len(job.op.outputs) == 1, "absent inputs")
    first, steps = job.inputs[0], []
    axis = axis_of(job.whole("axis"), len(first.shape) + 1)
    job.shaped((*first.shape[:axis], len(job.inputs), *first.shape[axis:]))
    for number, tensor in enumerate(job.inputs):
        same_type(tensor, job.result)
        need(tensor.shape == first.shape, f"inputs {list(first.shape)} and {list(tensor.shape)}")
        view = Strided.dense((*first.shape[:axis], 1, *first.shape[axis:]), first.dtype.itemsize)
        steps += move(job, view, dense(job.result).slice(axis, number, 1), number)
    return steps


JOINING: dict[str, Lower] = {
    "CONCATENATION": concatenation,
    "PACK": pack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "UNPACK": unpack,
}
