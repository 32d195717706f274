"""Functions of one quantised byte, as tables: computed as TFLite does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import (
    Whole,
    clamp,
    codes,
    doubling_high,
    is_quantised,
    multiplier,
    multiply,
    shift_right,
    stored,
    table,
    truncate,
)
from edgekit.plan.lowering import Lower, Lowering, equally_scaled, need, scale_of, zero_point_of
from edgekit.plan.real import real
from edgekit.plan.step import Step

Float = NDArray[np.float32]
_SIGNED = ("ABS", "ELU", "EXP", "LOG", "NEG", "RSQRT", "SQRT")  # TFLite has these for int8 only
Table = Callable[[Lowering, Tensor, Tensor], NDArray[np.uint8]]


def look_up(job: Lowering, values: NDArray[np.uint8], number: int = 0, note: str = "") -> list[Step]:
    """All of an input through a table of 256 numbers of the output's type."""
    count, item = math.prod(job.inputs[number].shape), job.result.dtype.itemsize
    fields = {
        **job.source(number).fields(), "output": job.output(), "rows": 1, "columns": count,
        "input_stride": count, "output_stride": count * item, "item": item,
        "table": np.ascontiguousarray(values),
    }  # fmt: skip
    return [Step("lut", fields, note)]


def unary(make: Table) -> Lower:
    """The lowering of a function of one byte; of a float, where that is what it gets."""

    def lower(job: Lowering) -> list[Step]:
        job.takes(1)
        if job.inputs[0].dtype == np.float32:
            return real(job)
        source, result = job.inputs[0], job.result
        need(source.dtype == result.dtype, f"{source.dtype} to {result.dtype}")
        need(source.dtype == np.int8 or job.op.kind not in _SIGNED, f"{source.dtype}")
        need(is_quantised(source, result), f"{source.dtype}; only bytes with one scale")
        job.shaped(source.shape)
        return look_up(job, make(job, source, result))

    return lower


def _real(function: Callable[[Float], Any]) -> Table:
    """A function of real numbers; TFLite has these for int8, and some for uint8."""
    return lambda _job, source, result: table(function, source, result)


def _double(function: Callable[[Any], Any]) -> Callable[[Float], Float]:
    """The function in float64, rounded to float32: what a good math library gives."""
    return lambda x: np.asarray(function(x.astype(np.float64))).astype(np.float32)


_exp, _tanh, _log = _double(np.exp), _double(np.tanh), _double(np.log)
_erfc = _double(np.vectorize(math.erfc, otypes=[float]))
_LONGEST_SHIFT = 31  # beyond which the reference's own shift is undefined
_ONE, _HALF = np.float32(1), np.float32(0.5)


def sigmoid(x: Float) -> Float:
    return _ONE / (_ONE + _exp(-x))


def _gelu(x: Float) -> Float:
    return _HALF * x * _erfc(x * np.float32(-math.sqrt(0.5)))


def _gelu_by_tanh(x: Float) -> Float:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return _HALF * x * (_ONE + _tanh(inner))


def _gelu_table(job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    return table(_gelu_by_tanh if job.option("approximate") else _gelu, source, result)


def _sigmoid_table(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    need(scale_of(result) == np.float32(1 / 256), "an output scale that is not 1/256")
    return table(sigmoid, source, result)


def _log_table(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    least = np.float32(-128 - zero_point_of(result)) * scale_of(result)
    return table(lambda x: np.where(x > 0, _log(np.maximum(x, np.float32(1e-30))), least), source, result)


def _factor(source: Tensor, result: Tensor, also: float = 1.0) -> tuple[int, int]:
    """The factor between two scales, divided in float32."""
    return multiplier(float(scale_of(source) * np.float32(also) / scale_of(result)))


def _relu(low: float, high: float) -> Table:
    def make(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
        x = codes(source) - zero_point_of(source)
        y = multiply(x, _factor(source, result)) + zero_point_of(result)
        return stored(y, result, clamp(low, high, result))

    return make


def _leaky_relu(job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    x = codes(source) - zero_point_of(source)
    alpha = float(job.op.options["alpha"])  # type: ignore[arg-type]
    y = np.where(x >= 0, multiply(x, _factor(source, result)), multiply(x, _factor(source, result, alpha)))
    return stored(y + zero_point_of(result), result)


def _abs(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    x = np.abs(codes(source) - zero_point_of(source))
    same = scale_of(source) == scale_of(result)
    return stored((x if same else multiply(x, _factor(source, result))) + zero_point_of(result), result)


def _neg(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """TFLite negates what is stored, which is right without a zero point."""
    same = equally_scaled(source, result) and zero_point_of(source) == 0
    need(same, "another scale or a zero point")
    return (-codes(source)).astype(np.int8).view(np.uint8)


def _rsqrt(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """With 20 bits behind the point in between; 0 becomes the largest number."""
    need(zero_point_of(source) == -128, "an input that may be negative")
    x, bits = codes(source) + 128, 20
    fixed, shift = multiplier(1 / float(np.sqrt(scale_of(source)) * scale_of(result)))
    need(shift - bits >= -31, "scales that are too far apart")
    roots = np.array([_inverse_root(int(n), bits) for n in x])
    y = multiply(roots, (fixed, shift - bits)) + zero_point_of(result)
    return stored(np.where(x == 0, 127, y), result)


def _inverse_root(number: int, bits: int) -> Whole:
    """1 / sqrt(number) with so many bits behind the point: Newton's method on numbers of 31 bits."""
    if number <= 1:
        return multiply(np.array(1), (2**31 - 1, bits))
    pairs = (31 - number.bit_length()) // 2 - 1
    half = shift_right(np.array((number << 2 * pairs) >> 1), 1)
    x = np.array(1 << 28)
    for _ in range(5):
        cube = doubling_high(doubling_high(x, x), x) << 6
        x = (doubling_high(x, (1 << 28) + (1 << 27)) - doubling_high(half, cube)) << 3
    return multiply(np.array(1), (int(doubling_high(x, 1518500250)), bits - (11 - pairs)))


def _sqrt(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """TFLite cuts what is behind the point off."""
    need(zero_point_of(source) == -128, "an input that may be negative")
    x = scale_of(source) * (codes(source) + 128).astype(np.float32)
    y = np.trunc(np.sqrt(x) / scale_of(result)).astype(np.int64)
    return stored(y + zero_point_of(result), result)


def _hard_swish(_job: Lowering, source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """The product x * relu6(x + 3) / 6 on 16-bit fractions."""
    fine = np.float32(1 / 128) * scale_of(source)
    out_fixed, out_shift = _short(float(fine / scale_of(result)))
    gate_fixed, gate_shift = _short(float(fine / np.float32(3 / 32768)))
    need(out_shift <= 0, "scales that are too far apart")
    x = (codes(source) - zero_point_of(source)) << 7
    gate = _saturated(x << max(gate_shift - 1, 0))
    gate = _saturated(doubling_high(gate, gate_fixed, 15))
    gate = _saturated(gate << (gate_shift > 0))
    gate = _short_shift_right(gate, max(-gate_shift, 0))
    gate = (gate + (1 << 15)) >> 1
    y = _saturated(truncate(gate * _saturated(doubling_high(x, out_fixed, 15)), 15))
    return stored(_short_shift_right(y, -out_shift) + zero_point_of(result), result)


def _short_shift_right(x: Whole, bits: int) -> Whole:
    """Divide numbers of 16 bits by 2^bits as TFLite does, whose mask for the rest has no more bits either."""
    need(bits <= _LONGEST_SHIFT, "scales that are too far apart")
    return shift_right(x, bits) if bits < 16 else np.where(x >= 0, 1, -1)


def _short(real: float) -> tuple[int, int]:
    """A multiplier of 15 bits, and its shift."""
    fixed, shift = multiplier(real)
    return min((fixed + (1 << 15)) >> 16, 32767), shift


def _saturated(x: Whole) -> Whole:
    return np.clip(x, -32768, 32767)


def logical_not(job: Lowering) -> list[Step]:
    job.takes(1)
    need(job.inputs[0].dtype == job.result.dtype == np.bool_, "an operand that is no bool")
    job.shaped(job.inputs[0].shape)
    return look_up(job, (np.arange(256) == 0).astype(np.uint8))


UNARY: dict[str, Lower] = {
    "LOGICAL_NOT": logical_not,
} | {
    kind: unary(make)
    for kind, make in {
        "ABS": _abs,
        "ELU": _real(lambda x: np.where(x < 0, _double(np.expm1)(x), x)),
        "EXP": _real(_exp),
        "GELU": _gelu_table,
        "HARD_SWISH": _hard_swish,
        "LEAKY_RELU": _leaky_relu,
        "LOG": _log_table,
        "NEG": _neg,
        "LOGISTIC": _sigmoid_table,
        "RELU": _relu(0, math.inf),
        "RELU6": _relu(0, 6),
        "RELU_0_TO_1": _relu(0, 1),
        "RELU_N1_TO_1": _relu(-1, 1),
        "RSQRT": _rsqrt,
        "SQRT": _sqrt,
        "TANH": _real(_tanh),
    }.items()
}
