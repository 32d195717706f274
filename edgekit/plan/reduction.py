"""Numbers taken together: along axes, in windows of a picture, in rows that then add up to 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.arithmetic import (
    bounds,
    clamp,
    doubling_high,
    is_quantised,
    limits,
    multiplier,
    shift_right,
)
from edgekit.plan.lowering import (
    BYTES,
    FLOAT,
    Lower,
    Lowering,
    axis_of,
    dense,
    equally_scaled,
    need,
    scale_of,
    type_number,
    zero_point_of,
)
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import merge

# As in native/ops_many.h; of truth values, which are bytes of 0 or 1, any is the largest and all the least.
_REDUCTIONS = {
    "SUM": 0, "MEAN": 1, "REDUCE_MAX": 2, "REDUCE_MIN": 3, "REDUCE_ANY": 2, "REDUCE_ALL": 3, "REDUCE_PROD": 4
}  # fmt: skip
_LARGEST = float(np.finfo(np.float32).max)


def reduce(job: Lowering) -> list[Step]:
    job.takes(2)
    source, result, kind = job.inputs[0], job.result, job.op.kind
    axes = sorted({axis_of(int(axis), len(source.shape)) for axis in job.constant(1, "axes").ravel()})
    kept = [axis for axis in range(len(source.shape)) if axis not in axes]
    shape = [1 if axis in axes else n for axis, n in enumerate(source.shape)]
    job.shaped(shape if job.option("keep_dims") else [source.shape[axis] for axis in kept])
    need(source.dtype == result.dtype and source.dtype != np.int16, f"{source.dtype} to {result.dtype}")
    need(source.dtype not in BYTES or is_quantised(source, result), "bytes without one scale")
    count = math.prod(source.shape[axis] for axis in axes)
    need(0 < count < 2**23, f"{count} numbers at once")
    fields = {"type": type_number(source), "function": _REDUCTIONS[kind], **_axes(job, kept, axes)}
    need(kind not in ("REDUCE_ANY", "REDUCE_ALL") or source.dtype == np.bool_, f"{source.dtype}")
    need(kind != "REDUCE_PROD" or source.dtype.itemsize > 1, f"a product of {source.dtype}")
    if _REDUCTIONS[kind] > 1:
        need(equally_scaled(source, result), "another scale or zero point")
    elif source.dtype in BYTES:
        fields |= _rescaled(job, count)
    return [Step("reduce", {**job.source(0).fields(), "output": job.output(), **fields})]


def cumsum(job: Lowering) -> list[Step]:
    job.takes(2)
    source, axis = job.inputs[0], job.constant(1, "an axis")
    need(source.dtype in (FLOAT, np.int32, np.int64) and source.dtype == job.result.dtype, f"{source.dtype}")
    need(axis.size == 1, "an axis that is no single number")
    job.shaped(source.shape)
    at = axis_of(int(axis.ravel()[0]), len(source.shape))
    fields: Fields = {
        **job.source(0).fields(), "output": job.output(), "type": type_number(source),
        "exclusive": int(bool(job.option("exclusive"))), "reverse": int(bool(job.option("reverse"))),
        "outer": math.prod(source.shape[:at]), "count": source.shape[at],
        "inner": math.prod(source.shape[at + 1 :]),
    }  # fmt: skip
    return [Step("cumsum", fields)]


def _axes(job: Lowering, kept: list[int], axes: list[int]) -> Fields:
    view = dense(job.inputs[0])
    fields: Fields = {}
    for prefix, chosen in (("", kept), ("reduced_", axes)):
        part = view.transpose(chosen)
        sizes, (strides,) = merge(part.shape, part.strides)
        fields[f"{prefix}sizes"] = np.array(sizes, np.int64)
        fields[f"{prefix}strides"] = np.array(strides, np.int64)
    return fields


def _rescaled(job: Lowering, count: int) -> Fields:
    """From the sum of the bytes to the output; for MEAN the number of bytes is part of the multiplier."""
    fixed, shift = multiplier(float(scale_of(job.inputs[0])) / float(scale_of(job.result)))
    if job.op.kind == "MEAN":
        more = min(count.bit_length() - 1, 32, 31 + shift)
        fixed, shift = (fixed << more) // count, shift - more
    need(255 * count << max(shift, 0) < 2**31, "scales that are too far apart")
    zeros = zero_point_of(job.inputs[0]) * count
    return {
        "quantised": 1, "zero_point": zeros, "multiplier": fixed, "shift": shift,
        "output_zero_point": zero_point_of(job.result),
    }  # fmt: skip


def pool(job: Lowering) -> list[Step]:
    job.takes(1)
    source, result = job.inputs[0], job.result
    need(len(source.shape) == len(result.shape) == 4, f"shape {list(source.shape)}")
    need(source.dtype == result.dtype and source.dtype in (*BYTES, FLOAT), f"{source.dtype}")
    need(equally_scaled(source, result), "another scale or zero point")
    low, high = bounds(job.option("fused_activation_function"))
    if source.dtype == FLOAT:
        low, high = max(low, -_LARGEST), min(high, _LARGEST)
    else:
        need(is_quantised(result), "bytes without one scale")
        low, high = clamp(low, high, result)
    images, rows, columns, channels = source.shape
    height, top = window(rows, job.whole("filter_height"), job.whole("stride_h"), job.option("padding"))
    width, left = window(columns, job.whole("filter_width"), job.whole("stride_w"), job.option("padding"))
    job.shaped((images, height, width, channels))
    fields: Fields = {
        "type": type_number(source), "average": int(job.op.kind == "AVERAGE_POOL_2D"), "images": images,
        "rows": rows, "columns": columns, "channels": channels, "height": height, "width": width,
        "window_height": job.whole("filter_height"), "window_width": job.whole("filter_width"),
        "stride_y": job.whole("stride_h"), "stride_x": job.whole("stride_w"), "top": top, "left": left,
        "low": low, "high": high,
    }  # fmt: skip
    return [Step("pool", {**job.source(0).fields(), "output": job.output(), **fields})]


def window(size: int, reach: int, stride: int, padding: object) -> tuple[int, int]:
    """How many windows there are along an axis, and how far the first begins before the input."""
    need(stride > 0 and reach > 0, f"a window of {reach} by steps of {stride}")
    if padding == "VALID":
        need(reach <= size, f"a window of {reach} in {size}")
        return (size - reach) // stride + 1, 0
    count = -(-size // stride)
    return count, max(0, (count - 1) * stride + reach - size) // 2


def softmax(job: Lowering) -> list[Step]:
    job.takes(1)
    source, result = job.inputs[0], job.result
    job.shaped(source.shape)
    need(source.dtype == result.dtype and len(source.shape) >= 1, f"{source.dtype} to {result.dtype}")
    depth = source.shape[-1]
    common: Fields = {
        **job.source(0).fields(), "output": job.output(), "rows": math.prod(source.shape[:-1]), "depth": depth
    }  # fmt: skip
    beta = float(job.op.options["beta"])  # type: ignore[arg-type]
    if source.dtype == FLOAT:
        return [Step("softmax_float", {**common, "beta": beta})]
    need(is_quantised(source, result), f"{source.dtype}; only bytes with one scale")
    near = abs(float(scale_of(result)) * 256 - 1) < 0.001
    need(near and zero_point_of(result) == limits(result)[0], "an output that is not 0 to 1")
    need(depth < 4096, f"{depth} numbers in a row")
    table = exponentials(beta * float(scale_of(source)))
    return [Step("softmax", {**common, "type": type_number(source), "exponentials": table})]


def log_softmax(job: Lowering) -> list[Step]:
    job.takes(1)
    source, result = job.inputs[0], job.result
    job.shaped(source.shape)
    need(source.dtype == result.dtype and len(source.shape) >= 1, f"{source.dtype} to {result.dtype}")
    fields: Fields = {
        **job.source(0).fields(), "output": job.output(), "rows": math.prod(source.shape[:-1]),
        "depth": source.shape[-1],
    }  # fmt: skip
    if source.dtype == FLOAT:
        return [Step("softmax_float", {**fields, "logarithm": 1})]
    need(is_quantised(source, result), f"{source.dtype}; only bytes with one scale")
    fits = scale_of(result) == np.float32(1 / 16) and zero_point_of(result) == limits(result)[1]
    need(fits, "an output that is not -16 to 0")
    if source.dtype == np.int8:
        need(source.shape[-1] < 4096, f"{source.shape[-1]} numbers in a row")
        return [Step("log_softmax_int8", fields | _logarithms(float(scale_of(source))))]
    below = (-scale_of(source) * np.arange(256, dtype=np.float32)).astype(np.float64)
    fields |= {
        "exponentials": np.exp(below).astype(np.float32), "input_scale": float(scale_of(source)),
        "output_scale": float(scale_of(result)),
    }  # fmt: skip
    return [Step("log_softmax", fields)]


def _logarithms(scale: float) -> Fields:
    """What the fixed point of LOG_SOFTMAX needs to know of numbers of a scale."""
    scaled, (fixed, shift), reach = _scaled(scale)
    back, right = multiplier(2.0 ** (31 - shift) / fixed)
    need(right <= 0, "a factor that is too small")
    return {
        "exponentials": exponentials(scale), "scaled": scaled.astype(np.int32), "least": -reach - 1,
        "multiplier": back, "shift": right,
    }  # fmt: skip


def exponentials(scale: float) -> NDArray[np.int32]:
    """exp(-scale * d) for d = 0..255 in 31 bits, as gemmlowp computes it; 0 where TFLite leaves it out."""
    scaled, _, reach = _scaled(scale)
    return np.where(np.arange(256) <= reach, _exp(scaled), 0).astype(np.int32)


def _scaled(scale: float) -> tuple[NDArray[np.int64], tuple[int, int], int]:
    """-scale * d for d = 0..255 with 26 bits behind the point, 0 where that is too much; the factor, and the
    largest d for which it is not.
    """
    need(scale > 0, "a factor that is not positive")
    fixed, shift = multiplier(min(scale * 2**26, 2.0**31 - 1))
    need(shift >= 0, "a factor that is too small")
    reach = math.floor(31 * 2**26 / 2**shift)
    steps = -np.arange(256, dtype=np.int64)
    return doubling_high(np.where(-steps <= reach, steps, 0) << shift, fixed), (fixed, shift), reach


def _exp(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """e^x for x <= 0 with 26 bits behind the point: a quarter by Taylor, the rest by its binary digits."""
    quarter = 1 << 24
    part = (x & (quarter - 1)) - quarter
    y, rest = _exp_of_quarter(part << 5), part - x
    for bit, factor in enumerate((1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)):
        y = np.where(rest >> (24 + bit) & 1, doubling_high(y, factor), y)
    return np.where(x == 0, 2**31 - 1, y)


def _exp_of_quarter(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """e^x for -1/4 <= x < 0, 31 bits, around -1/8."""
    x = x + (1 << 28)
    x2 = doubling_high(x, x)
    x3, x4 = doubling_high(x2, x), doubling_high(x2, x2)
    terms = shift_right(doubling_high(shift_right(x4, 2) + x3, 715827883) + x2, 1)
    return 1895147668 + doubling_high(x + terms, 1895147668)


REDUCTIONS: dict[str, Lower] = {
    **dict.fromkeys(_REDUCTIONS, reduce),
    "AVERAGE_POOL_2D": pool,
    "CUMSUM": cumsum,
    "LOG_SOFTMAX": log_softmax,
    "MAX_POOL_2D": pool,
    "SOFTMAX": softmax,
}
