"""Sums of products beside the layers that have planes: matrices, TRANSPOSE_CONV, L2_NORMALIZATION."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan import fully_connected as layers
from edgekit.plan import real_layers
from edgekit.plan.arithmetic import bounds, clamp, is_quantised, multiplier
from edgekit.plan.lowering import FLOAT, Lower, Lowering, dense, need, scale_of, type_number, zero_point_of
from edgekit.plan.reduction import window
from edgekit.plan.simplify.arithmetic import sum_factors
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import merge

MAX_DEPTH = 32768  # as EK_MAX_DEPTH in native/ek.h


def _int8(*tensors: Tensor) -> None:
    for tensor in tensors:
        need(
            tensor.dtype == np.int8 and is_quantised(tensor), f"{tensor.dtype}; only int8 with one scale each"
        )


def batch_matmul(job: Lowering) -> list[Step]:
    job.takes(2)
    real = all(tensor.dtype == FLOAT for tensor in (*job.inputs, job.result))
    if not real:
        _int8(*job.inputs, job.result)
    first, second = (dense(tensor) for tensor in job.inputs)
    need(min(len(first.shape), len(second.shape)) >= 2, "a matrix with less than two axes")
    swapped = [*range(len(first.shape) - 2), len(first.shape) - 1, len(first.shape) - 2]
    first = first.transpose(swapped) if job.option("adj_x") else first
    swapped = [*range(len(second.shape) - 2), len(second.shape) - 1, len(second.shape) - 2]
    second = second.transpose(swapped) if job.option("adj_y") else second
    try:
        batches = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    except ValueError:
        batches = (-1,)
    job.shaped((*batches, first.shape[-2], second.shape[-1]))
    (rows, depth), (again, columns) = first.shape[-2:], second.shape[-2:]
    need(depth == again and 0 < depth <= MAX_DEPTH, f"{depth} times {again} numbers")
    views = [view.broadcast((*batches, *view.shape[-2:])) for view in (first, second)]
    sizes, strides = merge(batches, *(view.strides[:-2] for view in views))
    fields: Fields = {
        **job.source(0).fields("first"), **job.source(1).fields("second"), "output": job.output(),
        "batches": np.array(sizes, np.int64), "first_batch_strides": np.array(strides[0], np.int64),
        "second_batch_strides": np.array(strides[1], np.int64), "rows": rows, "depth": depth,
        "columns": columns, "first_row_stride": views[0].strides[-2],
        "first_depth_stride": views[0].strides[-1], "second_depth_stride": views[1].strides[-2],
        "second_column_stride": views[1].strides[-1], "type": type_number(job.result),
    }  # fmt: skip
    if not real:
        fixed, shift = multiplier(_factor(job.inputs[0], job.inputs[1], job.result))
        need(255 * 255 * depth << max(shift, 0) < 2**31, "scales that are too far apart")
        fields |= {**_zero_points(job), "multiplier": fixed, "shift": shift, "low": -128, "high": 127}
    return [Step("matmul", fields)]


def _zero_points(job: Lowering) -> Fields:
    names = {"first_zero": job.inputs[0], "second_zero": job.inputs[1], "zero_point": job.result}
    return {name: zero_point_of(tensor) for name, tensor in names.items()}


def is_packed(graph: Graph, op: Op) -> bool:
    """Whether a FULLY_CONNECTED is a layer of bytes with constant weights."""
    return not real_layers.is_real(graph, op) and not _has_computed_weights(graph, op)


def _has_computed_weights(graph: Graph, op: Op) -> bool:
    return len(op.inputs) > 1 and op.inputs[1] >= 0 and graph.tensors[op.inputs[1]].data is None


def fully_connected(job: Lowering) -> list[Step]:
    """A layer whose weights are computed is a product of two matrices."""
    if real_layers.is_real(job.graph, job.op):
        return real_layers.fully_connected(job)
    if not _has_computed_weights(job.graph, job.op):
        return layers.lower(job)
    job.takes(2, 3)
    source, weights, result = job.inputs[0], job.inputs[1], job.result
    _int8(source, weights, result)
    need(len(weights.shape) == 2, f"weights {list(weights.shape)}")
    columns, depth = weights.shape
    rows, rest = divmod(math.prod(source.shape), depth)
    fits = not rest and math.prod(result.shape) == rows * columns
    need(fits and 0 < depth <= MAX_DEPTH, f"weights {list(weights.shape)} for {list(source.shape)}")
    scale = layers.scale_of(source) * layers.scale_of(weights) / layers.scale_of(result)
    bias = _bias(job, columns, depth)
    need(scale < 1, "scales that are too far apart")
    low, high = clamp(*bounds(job.option("fused_activation_function")), result)
    one = np.array([1], np.int64)
    fields: Fields = {
        **job.source(0).fields("first"), **job.source(1).fields("second"), "output": job.output(),
        "batches": one, "first_batch_strides": one - 1, "second_batch_strides": one - 1, "rows": rows,
        "depth": depth, "columns": columns, "first_row_stride": depth, "first_depth_stride": 1,
        "second_depth_stride": 1, "second_column_stride": depth, "type": type_number(result),
        "bias": bias, "scale": scale, "low": low, "high": high, **_zero_points(job),
    }  # fmt: skip
    return [Step("matmul", fields)]


def _bias(job: Lowering, columns: int, depth: int) -> NDArray[np.int32]:
    """The third input, if there is one."""
    if len(job.op.inputs) < 3 or job.op.inputs[2] < 0:
        return np.zeros(0, np.int32)
    bias = job.inputs[2]
    need(bias.data is not None and bias.dtype == np.int32 and bias.shape == (columns,), "another bias")
    reach = 255 * 255 * depth + int(np.abs(np.asarray(bias.data, np.int64)).max())
    need(reach < 2**31, "sums beyond 32 bits")
    return np.ascontiguousarray(bias.data)


def _factor(first: Tensor, second: Tensor, result: Tensor) -> float:
    """From a sum of products to the output: the scales multiplied in float32, then divided in float64."""
    return float(scale_of(first) * scale_of(second)) / float(scale_of(result))


def transpose_conv(job: Lowering) -> list[Step]:
    job.takes(3, 4)
    weights, source, result = job.inputs[1], job.inputs[2], job.result
    _int8(source, result)
    need(len(source.shape) == len(weights.shape) == len(result.shape) == 4, f"weights {list(weights.shape)}")
    job.shaped([int(n) for n in job.constant(0, "sizes").ravel()])
    channels, height, width, depth = weights.shape
    images, rows, columns, _ = source.shape
    need(source.shape[3] == depth and result.shape[3] == channels, f"weights {list(weights.shape)}")
    need(result.shape[0] == images, f"{images} images to {result.shape[0]}")
    top = margin(result.shape[1], height, job.whole("stride_h"), job.option("padding"))
    left = margin(result.shape[2], width, job.whole("stride_w"), job.option("padding"))
    low, high = clamp(*bounds(job.option("fused_activation_function")), result)
    bias, factors = _channel_factors(job, channels)
    fields = {
        **job.source(2).fields(), "output": job.output(), "images": images, "rows": rows, "columns": columns,
        "depth": depth, "height": result.shape[1], "width": result.shape[2], "channels": channels,
        "window_height": height, "window_width": width, "stride_y": job.whole("stride_h"),
        "stride_x": job.whole("stride_w"), "top": top, "left": left,
        "input_zero_point": zero_point_of(source), "bias": bias,
        "weights": np.ascontiguousarray(np.asarray(weights.data, np.int16).transpose(1, 2, 3, 0)),
        "multiplier": np.array([f[0] for f in factors], np.int32),
        "shift": np.array([f[1] for f in factors], np.int32), "zero_point": zero_point_of(result),
        "low": low, "high": high,
    }  # fmt: skip
    return [Step("transpose_conv", fields)]


def margin(size: int, reach: int, stride: int, padding: object) -> int:
    """How far the first window begins before the output: that of a convolution from output to input."""
    return window(size, reach, stride, padding)[1] if padding == "SAME" else 0


def _channel_factors(job: Lowering, channels: int) -> tuple[NDArray[np.int32], list[tuple[int, int]]]:
    """Bias and factor of each output channel. Weights of int16 are uint8 ones less their zero point."""
    weights, source = job.inputs[1], job.inputs[2]
    known = weights.data is not None and weights.dtype in (np.int8, np.int16)
    need(known, f"{weights.dtype} weights that are no constant")
    need(
        weights.scale is not None and not np.any(weights.zero_point), "weights with a zero point or no scale"
    )
    reals = sum_factors(job.op.kind, source, weights, job.result)
    need(len(reals) == 1 or (weights.axis == 0 and len(reals) == channels), "scales on another axis")
    reals = np.broadcast_to(reals, channels)
    factors = [multiplier(float(real)) for real in reals]
    bias = np.zeros(channels, np.int32)
    if len(job.op.inputs) == 4 and job.op.inputs[3] >= 0:
        given = job.inputs[3]
        need(
            given.data is not None and given.dtype == np.int32 and given.shape == (channels,), "another bias"
        )
        bias = np.ascontiguousarray(given.data)
    _, height, width, depth = weights.shape
    steps = (job.whole("stride_h"), job.whole("stride_w"))
    need(min(steps) > 0, f"strides {list(steps)}")
    products = -(-height // steps[0]) * -(-width // steps[1]) * depth
    need(products <= MAX_DEPTH // 2, f"{products} products in a sum")
    largest = int(np.abs(np.asarray(weights.data, np.int16)).max())
    need(largest <= 255, "weights beyond 9 bits")
    reach = 255 * largest * products + int(np.abs(bias.astype(np.int64)).max())
    need(reach << max(0, *(f[1] for f in factors)) < 2**31, "sums beyond 32 bits")
    return bias, factors


def l2_normalization(job: Lowering) -> list[Step]:
    job.takes(1)
    source, result = job.inputs[0], job.result
    _int8(source, result)
    job.shaped(source.shape)
    need(job.option("fused_activation_function") == "NONE", "an activation")
    need(
        scale_of(result) == np.float32(1 / 128) and zero_point_of(result) == 0,
        "an output that is not -1 to 1",
    )
    depth = source.shape[-1] if source.shape else 1
    need(depth <= MAX_DEPTH, f"{depth} numbers in a row")
    fields = {
        **job.source(0).fields(), "output": job.output(), "rows": math.prod(source.shape[:-1]),
        "depth": depth, "zero_point": zero_point_of(source),
    }  # fmt: skip
    return [Step("l2norm", fields)]


PRODUCTS: dict[str, Lower] = {
    "BATCH_MATMUL": batch_matmul,
    "L2_NORMALIZATION": l2_normalization,
    "TRANSPOSE_CONV": transpose_conv,
}
