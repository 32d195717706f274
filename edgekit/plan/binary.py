"""Functions of two numbers, broadcast: in TFLite's arithmetic where they are quantised, else as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import (
    Whole,
    bit_length,
    bounds,
    clamp,
    codes,
    doubling_high,
    inverse_of_one_plus,
    is_quantised,
    multiplier,
    multiply,
    shift_right,
    stored,
)
from edgekit.plan.lowering import (
    FAULT,
    FLOAT,
    SCRATCH,
    ZERO,
    Lower,
    Lowering,
    dense,
    need,
    same_type,
    scale_of,
    type_number,
    zero_point_of,
)
from edgekit.plan.real import REAL
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import Source, merge
from edgekit.plan.unary import UNARY, look_up

# In the order of native/ops_plain.h; the comparisons come last.
FUNCTIONS = """
    ADD SUB MUL MAXIMUM MINIMUM SQUARED_DIFFERENCE DIV PRELU POW ATAN2 FLOOR_DIV FLOOR_MOD
    BITWISE_XOR RIGHT_SHIFT
    EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL
""".split()  # noqa: SIM905
_ACTIVATED = ("ADD", "SUB", "MUL", "DIV")
_LOGICAL = {"LOGICAL_AND": "MINIMUM", "LOGICAL_OR": "MAXIMUM"}
_DIVISIONS = ("DIV", "FLOOR_DIV", "FLOOR_MOD")
_BITS = ("BITWISE_XOR", "RIGHT_SHIFT")
_OF_FLOATS = ("PRELU", "POW", "ATAN2")
_WHOLE = (np.dtype(np.int32), np.dtype(np.int64))
_LARGEST = float(np.finfo(np.float32).max)
_REACH = 2**31
_BITS_OF_SUM = 31  # a shift by more leaves nothing, whatever TFLite makes of it
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


def _ratio(job: Lowering) -> list[Step]:
    """DIV by way of the divisor's reciprocal, which has 31 bits."""
    return [*_no_zero(job, zero_point_of(job.inputs[1])), *_pair(job, _quotient)]


def _quotient(job: Lowering, a: Whole, b: Whole) -> NDArray[np.uint8]:
    first, second = job.inputs
    fixed, shift = multiplier(float(scale_of(first) / (scale_of(second) * scale_of(job.result))))
    a, b = a * np.where(b < 0, -1, 1), np.where(b == 0, 1, np.abs(b))
    room = 32 - bit_length(b)
    inverse = inverse_of_one_plus((b << room) - _REACH)
    headroom = 31 - bit_length(np.where(a < 0, -a - 1, a))
    down = headroom + (31 - room) - shift
    need(down.min() >= 0, "scales that are too far apart")
    product = doubling_high(doubling_high(a << headroom, inverse), fixed)
    y = np.where(down > _BITS_OF_SUM, 0, shift_right(product, np.minimum(down, _BITS_OF_SUM)))
    return stored(y + zero_point_of(job.result), job.result, _clamp(job))


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
    "DIV": _ratio,
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
    need(kind not in _OF_FLOATS or first.dtype == FLOAT, f"{first.dtype} numbers")
    need(kind != "ATAN2" or first.shape == job.inputs[1].shape, "operands of different shapes")
    need(kind not in _BITS or first.dtype.kind in "iu", f"{first.dtype} numbers")
    fields = {"type": type_number(first), "function": FUNCTIONS.index(kind), "low": low, "high": high}
    guard = _no_zero(job, 0) if kind in _DIVISIONS and first.dtype != FLOAT else []
    return [*guard, Step("binary", {**_operands(job), **fields})]


def _no_zero(job: Lowering, zero: int) -> list[Step]:
    """The step that says when a divisor is 0; none for constant ones, which are looked at here."""
    divisors = job.inputs[1]
    need(divisors.data is None or np.all(divisors.data != zero), "a divisor of 0")
    if divisors.data is not None:
        return []
    fields = {
        **job.source(1).fields(), "count": math.prod(divisors.shape), "type": type_number(divisors),
        "value": zero, "fault": job.place(FAULT), "number": ZERO,
    }  # fmt: skip
    return [Step("forbid", fields)]


def _logical(job: Lowering) -> list[Step]:
    """Of truth values, which are bytes of 0 or 1, the least or the largest."""
    need(all(t.dtype == np.bool_ for t in (*job.inputs, job.result)), "operands that are no bool")
    fields = {
        "type": type_number(job.result), "function": FUNCTIONS.index(_LOGICAL[job.op.kind]),
        "low": -_LARGEST, "high": _LARGEST,
    }  # fmt: skip
    return [Step("binary", {**_operands(job), **fields})]


def _signed(job: Lowering) -> list[Step]:
    """NEG, ABS and SIGN of whole numbers.

    That is 0 less the number, the larger of that and the number, and the number kept within -1 to 1.
    """
    source, kind = job.inputs[0], job.op.kind
    if source.dtype not in _WHOLE:
        return {**REAL, **UNARY}[kind](job)
    job.takes(1)
    job.same_type()
    job.shaped(source.shape)
    zero, minus_one, one = (Source(0, np.array([n], source.dtype)) for n in (0, -1, 1))
    if kind == "SIGN":
        part = job.place(SCRATCH)
        return [
            _row(job, "MAXIMUM", (job.source(0), 1), (minus_one, 0), part),
            _row(job, "MINIMUM", (Source(part), 1), (one, 0), job.output()),
        ]
    is_abs = kind == "ABS"
    negated = job.place(SCRATCH) if is_abs else job.output()
    steps = [_row(job, "SUB", (zero, 0), (job.source(0), 1), negated)]
    if is_abs:
        steps.append(_row(job, "MAXIMUM", (job.source(0), 1), (Source(negated), 1), job.output()))
    return steps


def _row(
    job: Lowering, kind: str, first: tuple[Source, int], second: tuple[Source, int], output: int
) -> Step:
    """A function of two rows of numbers of the result's type, a number or (0) none apart."""
    dtype, count = job.result.dtype, math.prod(job.result.shape)
    fields: Fields = {
        **first[0].fields("first"), **second[0].fields("second"), "output": output,
        "sizes": np.array([count], np.int64), "type": type_number(job.result),
        "first_strides": np.array([first[1] * dtype.itemsize], np.int64),
        "second_strides": np.array([second[1] * dtype.itemsize], np.int64),
        "function": FUNCTIONS.index(kind), "low": -_LARGEST, "high": _LARGEST,
    }  # fmt: skip
    return Step("binary", fields)


def signed_scratch(job: Lowering) -> int:
    return job.result.size_bytes if job.result.dtype in _WHOLE else 0


def _sum_of_many(job: Lowering) -> list[Step]:
    """ADD_N: one after another, each sum in the place from which the next is not made."""
    count = len(job.op.inputs)
    need(count >= 2, f"{count} inputs")
    job.takes(count)
    need(job.result.dtype in (FLOAT, np.int32), f"{job.result.dtype}")
    for tensor in job.inputs:
        same_type(tensor, job.result)
        job.shaped(tensor.shape)
    steps, total = [], job.source(0)
    for number in range(1, count):
        place = job.place(SCRATCH) if (count - number) % 2 == 0 else job.output()
        steps.append(_row(job, "ADD", (total, 1), (job.source(number), 1), place))
        total = Source(place)
    return steps


def sum_scratch(job: Lowering) -> int:
    return job.result.size_bytes if len(job.op.inputs) > 2 else 0


def _lower(kind: str) -> Lower:
    def lower(job: Lowering) -> list[Step]:
        job.takes(2)
        first, second = job.inputs
        quantised = any(t.scale is not None and t.dtype != FLOAT for t in job.inputs)
        if kind in ("MAXIMUM", "MINIMUM"):
            same_type(first, second)
            job.same_type()
        elif quantised:
            need(kind in _QUANTISED, f"quantised {first.dtype} numbers")
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
    **dict.fromkeys(("ABS", "NEG", "SIGN"), _signed),
    "ADD_N": _sum_of_many,
}
