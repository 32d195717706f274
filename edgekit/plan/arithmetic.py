"""TFLite's integer arithmetic on quantised numbers, in numpy: multipliers, roundings, clamps, tables.

What is here gives the very bytes of the reference kernels, so scales are float32 or float64 where theirs are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Tensor
from edgekit.plan.lowering import BYTES, need, scale_of, zero_point_of

Whole = NDArray[np.int64]
_ACTIVATIONS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_REACH = 2**31


def bounds(activation: object) -> tuple[float, float]:
    """The real values between which a fused activation keeps its output."""
    need(activation in _ACTIVATIONS, f"activation {activation!r}")
    return _ACTIVATIONS[str(activation)]


def limits(tensor: Tensor) -> tuple[int, int]:
    """The least and the largest number of the tensor's type."""
    info = np.iinfo(tensor.dtype)
    return int(info.min), int(info.max)


def clamp(low: float, high: float, tensor: Tensor) -> tuple[int, int]:
    """The stored values of a quantised tensor that stand for these real ones; as far as the type goes."""
    least, most = limits(tensor)
    scale, zero_point = scale_of(tensor), zero_point_of(tensor)
    if math.isfinite(low):
        least = max(least, zero_point + int(nearest(np.float32(low) / scale)))
    if math.isfinite(high):
        most = min(most, zero_point + int(nearest(np.float32(high) / scale)))
    need(least <= most, "an activation beyond the output's range")
    return least, most


def nearest(x: Any) -> Any:
    """To the nearest whole number, ties away from zero, as floats of the same type."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.copysign(1, x), 0).astype(np.asarray(x).dtype)


def multiplier(real: float) -> tuple[int, int]:
    """The multiplier, of 31 bits, and the shift by which TFLite approximates a real factor."""
    need(math.isfinite(real) and real >= 0, f"a factor of {real}")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    fixed = math.floor(fraction * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, shift = 2**30, shift + 1
    if shift < -31:
        return 0, 0
    need(shift <= 30, f"a factor of {real:g}")
    return fixed, shift


def multiply(x: Whole, factor: tuple[int, int]) -> Whole:
    """Multiply by a factor, with TFLite's two roundings."""
    fixed, shift = factor
    shifted = x << max(shift, 0)
    need(np.all(np.abs(shifted) < _REACH), "scales that are too far apart")
    return shift_right(doubling_high(shifted, fixed), max(-shift, 0))


def doubling_high(x: Whole, y: Whole | int, bits: int = 31) -> Whole:
    """The product over 2^bits to the nearest, ties away from zero."""
    product = x * y
    nudged = product + np.where(product >= 0, 1 << (bits - 1), 1 - (1 << (bits - 1)))
    return truncate(nudged, bits)


def truncate(x: Whole, bits: int) -> Whole:
    """Divide by 2^bits, towards zero."""
    return np.asarray(np.sign(x) * (np.abs(x) >> bits))


def inverse_of_one_plus(x: Whole) -> Whole:
    """1 / (1 + x) for x in 0..1, of 31 bits both: gemmlowp's three steps of Newton's method."""
    half = (x + _REACH) // 2
    y = 1515870810 + doubling_high(half, -1010580540)
    for _ in range(3):
        rest = doubling_high(y, (1 << 29) - doubling_high(half, y)) * 4
        y = y + np.clip(rest, -_REACH, _REACH - 1)
    return np.minimum(y * 2, _REACH - 1)


def bit_length(x: Whole) -> Whole:
    """How many bits numbers take that are 0 or more."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def shift_right(x: Whole, bits: Whole | int) -> Whole:
    """Divide by 2^bits, to the nearest, ties away from zero."""
    mask = (1 << np.asarray(bits, np.int64)) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))


def codes(tensor: Tensor) -> Whole:
    """The number that each byte, taken as unsigned, stores in the tensor's type."""
    return np.arange(256, dtype=np.uint8).view(tensor.dtype).astype(np.int64)


def is_quantised(*tensors: Tensor) -> bool:
    """Whether all are bytes with one scale."""
    return all(t.dtype in BYTES and t.scale is not None and len(t.scale) == 1 for t in tensors)


def stored(values: Whole, tensor: Tensor, bounded: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The bytes of the tensor's type for these stored values, kept within its range or the bounds given."""
    return np.clip(values, *(bounded or limits(tensor))).astype(tensor.dtype).view(np.uint8)


def table(function: Callable[[Any], Any], source: Tensor, result: Tensor) -> NDArray[np.uint8]:
    """A real function as a table from bytes to bytes: TFLite's way, in float32."""
    x = scale_of(source) * (codes(source) - zero_point_of(source)).astype(np.float32)
    with np.errstate(all="ignore"):
        y = np.asarray(function(x), np.float32) * (np.float32(1) / scale_of(result))
        whole = nearest(y) + np.float32(zero_point_of(result))
    need(np.all(np.abs(whole) < _REACH), "a function beyond the output's range")
    return stored(whole.astype(np.int64), result)
