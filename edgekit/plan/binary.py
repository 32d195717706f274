"""Functions of two numbers, broadcast: in TFLite's arithmetic where they are quantised, else as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import Whole, bounds, clamp, codes, is_quantised, multiplier, multiply, stored
from edgekit.plan.lowering import (
    FLOAT,
    SCRATCH,
    Lower,
    Lowering,
    dense,
    need,
    same_type,
    scale_of,
    type_number,
    zero_point_of,
)
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import Source, merge
from edgekit.plan.unary import UNARY, look_up

# In the order of native/ops.h; the comparisons come last.
FUNCTIONS = """
    ADD SUB MUL MAXIMUM MINIMUM SQUARED_DIFFERENCE DIV PRELU POW FLOOR_DIV FLOOR_MOD
    EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL
""".split()  # noqa: SIM905
_ACTIVATED = ("ADD", "SUB", "MUL", "DIV")
_LOGICAL = {"LOGICAL_AND": "MINIMUM", "LOGICAL_OR": "MAXIMUM"}
_WHOLE = (np.dtype(np.int32), np.dtype(np.int64))
_LARGEST = float(np.finfo(np.float32).max)
_WIDTH = 20  # bits by which ADD and SUB widen their operands


def _operands(job: Lowering) -> dict[str, Any]:
    """The fields of EK_OPERANDS."""
    job.takes(2)
    first, second = job.inputs
    need(first.dtype == second.dtype, f"{first.dtype} and {second.dtype}")
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        shape = (-1,)
    job.shaped(shape)
    views = [dense(tensor).broadcast(shape) for tensor in (first, second)]
    sizes, strides = merge(shape, *(view.strides for view in views))
    arrays = {"sizes": sizes, "first_strides": strides[0], "second_strides": strides[1]}
    return {
        **job.source(0).fields("first"), **job.source(1).fields("second"), "output": job.output(),
        **{name: np.array(values, np.int64) for name, values in arrays.items()},
    }  # fmt: skip


def _clamp(job: Lowering) -> tuple[int, int]:
    return clamp(*bounds(job.op.options.get("fused_activation_function", "NONE")), job.result)


def _arithmetic(
    job: Lowering, values: tuple[Whole, Whole], factor: tuple[int, int], *, product: bool = False
) -> list[Step]:
    """A sum or a product; a table, if one of the operands is a constant number."""
    low, high = _clamp(job)
    operands, zero_point = _operands(job), zero_point_of(job.result)
    for number in (0, 1):
        data = job.inputs[number].data
        if data is not None and data.size == 1 and job.inputs[1 - number].shape == job.result.shape:
            constant = values[number][data.reshape(-1).view(np.uint8)[0]]
            other = values[1 - number]
            numbers = multiply(other * constant if product else other + constant, factor) + zero_point
            return look_up(job, stored(numbers, job.result, (low, high)), 1 - number)
    fields: Fields = {
        "product": int(product), "first_values": values[0].astype(np.int32), "shift": factor[1],
        "second_values": values[1].astype(np.int32), "multiplier": factor[0], "zero_point": zero_point,
        "low": low, "high": high,
    }  # fmt: skip
    reach = [int(np.abs(v).max()) for v in values]
    widest = (reach[0] * reach[1] if product else sum(reach)) << max(factor[1], 0)
    need(widest < 2**31, "scales that are too far apart")
    return [Step("arithmetic", {**operands, **fields})]


def _widened(tensor: Tensor, twice: float, sign: int = 1) -> Whole:
    """What ADD and SUB make of each byte before they add."""
    x = (codes(tensor) - zero_point_of(tensor)) << _WIDTH
    return sign * multiply(x, multiplier(float(scale_of(tensor)) / twice))


def _sum(job: Lowering, sign: int) -> list[Step]:
    first, second = job.inputs
    twice = 2 * float(max(scale_of(first), scale_of(second)))
    factor = twice / (2**_WIDTH * float(scale_of(job.result)))
    need(factor < 1, "scales that are too far apart")
    values = _widened(first, twice), _widened(second, twice, sign)
    return _arithmetic(job, values, multiplier(factor))


def _product(job: Lowering) -> list[Step]:
    first, second = job.inputs
    values = codes(first) - zero_point_of(first), codes(second) - zero_point_of(second)
    factor = float(scale_of(first) * scale_of(second) / scale_of(job.result))
    return _arithmetic(job, values, multiplier(factor), product=True)


_Pair = Callable[[Lowering, Whole, Whole], NDArray[np.uint8]]


def _pair(job: Lowering, make: _Pair) -> list[Step]:
    """Any function of two bytes, as a table."""
    first, second = job.inputs
    a, b = (codes(tensor) - zero_point_of(tensor) for tensor in (first, second))
    return [Step("pair", {**_operands(job), "table": make(job, a[:, None], b[None, :]).ravel()})]


def _squared_difference(job: Lowering, a: Whole, b: Whole) -> NDArray[np.uint8]:
    first, second = job.inputs
    twice = 2 * float(max(scale_of(first), scale_of(second)))
    width = 7
    wide = [
        multiply(x << width, multiplier(float(scale_of(t)) / twice)) for x, t in ((a, first), (b, second))
    ]
    factor = twice**2 / (2 ** (width * 2) * float(scale_of(job.result)))
    need(factor < 1, "scales that are too far apart")
    values = multiply((wide[0] - wide[1]) ** 2, multiplier(factor)) + zero_point_of(job.result)
    return stored(values, job.result)


def _comparison(job: Lowering, a: Whole, b: Whole) -> NDArray[np.uint8]:
    """Both operands times their scales, in fixed point."""
    scales = [float(scale_of(tensor)) for tensor in job.inputs]
    need(max(scales) < 1, "scales that are too far apart")
    x, y = (multiply(v << 8, multiplier(scale)) for v, scale in zip((a, b), scales, strict=True))
    return np.asarray(_COMPARISONS[job.op.kind](x, y)).astype(np.uint8)


def _prelu(job: Lowering, x: Whole, alpha: Whole) -> NDArray[np.uint8]:
    source, slopes = job.inputs
    job.shaped(source.shape)
    one = multiplier(float(scale_of(source) / scale_of(job.result)))
    other = multiplier(float(scale_of(source) * scale_of(slopes) / scale_of(job.result)))
    y = np.where(x >= 0, multiply(x, one), multiply(np.minimum(x, 0) * alpha, other))
    return stored(y + zero_point_of(job.result), job.result)


_COMPARISONS: dict[str, Callable[[Whole, Whole], Any]] = {
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
}
_QUANTISED: dict[str, Lower] = {
    "ADD": lambda job: _sum(job, 1),
    "SUB": lambda job: _sum(job, -1),
    "MUL": _product,
    "SQUARED_DIFFERENCE": lambda job: _pair(job, _squared_difference),
    "PRELU": lambda job: _pair(job, _prelu),
    **dict.fromkeys(_COMPARISONS, lambda job: _pair(job, _comparison)),
}


def _numbers(job: Lowering, kind: str) -> list[Step]:
    """Numbers that are what they seem."""
    first, result = job.inputs[0], job.result
    need(
        result.dtype == (np.bool_ if kind in _COMPARISONS else first.dtype),
        f"{first.dtype} to {result.dtype}",
    )
    low, high = -_LARGEST, _LARGEST
    if kind in _ACTIVATED:
        low, high = (
            min(max(b, -_LARGEST), _LARGEST) for b in bounds(job.option("fused_activation_function"))
        )
        need(first.dtype == FLOAT or low == -_LARGEST, f"an activation on {first.dtype}")
    need(kind not in ("DIV", "PRELU", "POW") or first.dtype == FLOAT, f"{first.dtype}")
    if kind in ("FLOOR_DIV", "FLOOR_MOD") and first.dtype != FLOAT:
        need(np.all(job.constant(1, "divisors")), "a divisor of 0")
    fields = {"type": type_number(first), "function": FUNCTIONS.index(kind), "low": low, "high": high}
    return [Step("binary", {**_operands(job), **fields})]


def _logical(job: Lowering) -> list[Step]:
    """Of truth values, which are bytes of 0 or 1, the least or the largest."""
    need(all(t.dtype == np.bool_ for t in (*job.inputs, job.result)), "operands that are no bool")
    fields = {
        "type": type_number(job.result), "function": FUNCTIONS.index(_LOGICAL[job.op.kind]),
        "low": -_LARGEST, "high": _LARGEST,
    }  # fmt: skip
    return [Step("binary", {**_operands(job), **fields})]


def _signed(job: Lowering) -> list[Step]:
    """NEG and ABS of whole numbers: 0 less the number, and the larger of the two."""
    source = job.inputs[0]
    if source.dtype not in _WHOLE:
        return UNARY[job.op.kind](job)
    job.takes(1)
    job.same_type()
    job.shaped(source.shape)
    is_abs, zero = job.op.kind == "ABS", Source(0, np.zeros(1, source.dtype))
    negated = job.place(SCRATCH) if is_abs else job.output()
    steps = [_whole(job, "SUB", (zero, 0), (job.source(0), 1), negated)]
    if is_abs:
        steps.append(_whole(job, "MAXIMUM", (job.source(0), 1), (Source(negated), 1), job.output()))
    return steps


def _whole(
    job: Lowering, kind: str, first: tuple[Source, int], second: tuple[Source, int], output: int
) -> Step:
    """A function of two rows of whole numbers of the result's type, a number or (0) none apart."""
    dtype, count = job.result.dtype, math.prod(job.result.shape)
    fields: Fields = {
        **first[0].fields("first"), **second[0].fields("second"), "output": output,
        "sizes": np.array([count], np.int64), "type": type_number(job.result),
        "first_strides": np.array([first[1] * dtype.itemsize], np.int64),
        "second_strides": np.array([second[1] * dtype.itemsize], np.int64),
        "function": FUNCTIONS.index(kind),
    }  # fmt: skip
    return Step("binary", fields)


def signed_scratch(job: Lowering) -> int:
    return job.result.size_bytes if job.result.dtype in _WHOLE else 0


def _lower(kind: str) -> Lower:
    def lower(job: Lowering) -> list[Step]:
        job.takes(2)
        first, second = job.inputs
        quantised = any(t.scale is not None and t.dtype != FLOAT for t in job.inputs)
        if kind in ("MAXIMUM", "MINIMUM"):
            same_type(first, second)
            job.same_type()
        elif quantised:
            need(kind in _QUANTISED, "quantised numbers")
            compared = [] if kind in _COMPARISONS else [job.result]
            need(is_quantised(first, second, *compared), f"{first.dtype}; only bytes with one scale")
            need(all(t.dtype == first.dtype for t in (second, *compared)), "operands of different types")
            need(compared or job.result.dtype == np.bool_, "an output that is no bool")
            return _QUANTISED[kind](job)
        return _numbers(job, kind)

    return lower


BINARY: dict[str, Lower] = {
    **{kind: _lower(kind) for kind in FUNCTIONS},
    **dict.fromkeys(_LOGICAL, _logical),
    **dict.fromkeys(("ABS", "NEG"), _signed),
}
