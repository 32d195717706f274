"""TFLite's arithmetic on whole numbers, exactly: fixed-point multipliers, rounding, clamps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Tensor

Integers = NDArray[np.int64]


def fixed_point(factor: float) -> tuple[int, int]:
    """The factor as `multiplier * 2**(shift - 31)` with a 31-bit multiplier."""
    if factor == 0:
        return 0, 0
    fraction, shift = math.frexp(factor)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def multiply(values: Integers, factor: float) -> Integers:
    """`values * factor`, rounded twice as the reference kernels do: the product, then the right shift."""
    multiplier, shift = fixed_point(factor)
    product = (values << max(shift, 0)) * multiplier
    nudge = np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(product + nudge >= 0, (product + nudge) >> 31, -((-(product + nudge)) >> 31))
    right = max(-shift, 0)
    rest = high & ((1 << right) - 1)
    half = ((1 << right) - 1 >> 1) + (high < 0)
    return np.asarray((high >> right) + (rest > half), np.int64)


def clamp(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Values in the tensor's type, those outside it at its ends."""
    limits = np.iinfo(tensor.dtype)
    return np.asarray(np.clip(values, limits.min, limits.max), tensor.dtype)


def quantize(real: NDArray[np.float32], tensor: Tensor) -> NDArray[Any] | None:
    """Floats as the tensor stores them; None where one is so large that the reference is not defined."""
    scaled = real / np.asarray(tensor.scale, np.float32)
    if tensor.dtype.kind not in "iu" or not np.all(np.abs(scaled) < 2**30):
        return None
    whole = np.trunc(scaled + np.copysign(np.float64(0.5), scaled)).astype(np.int64)
    return clamp(whole + np.asarray(tensor.zero_point), tensor)


def dequantize(tensor: Tensor) -> NDArray[np.float32]:
    """What a constant stands for."""
    stored = np.asarray(tensor.data, np.int64) - np.asarray(tensor.zero_point)
    return np.asarray(stored * np.asarray(tensor.scale, np.float64), np.float32)


def requantize(source: Tensor, result: Tensor) -> NDArray[Any] | None:
    """A constant of 8 bits as another tensor of whole numbers stores it."""
    if source.dtype not in (np.int8, np.uint8) or result.dtype not in (np.int8, np.uint8):
        return None
    values = np.asarray(source.data, np.int64) - np.asarray(source.zero_point)
    factor = float(np.asarray(source.scale, np.float64)[0] / np.asarray(result.scale, np.float64)[0])
    if not 2**-31 < factor < 2**16:
        return None
    return clamp(multiply(values, factor) + np.asarray(result.zero_point), result)


def sum_factors(source: Tensor, weights: Tensor, result: Tensor) -> NDArray[np.float64]:
    """From the sums of a convolution or a FULLY_CONNECTED to what is stored: one a scale of the weights.

    Convolutions that were uint8, known by weights of int16, have the first product in single precision.
    """
    scales = [np.asarray(tensor.scale, np.float32) for tensor in (source, weights, result)]
    if weights.dtype == np.int16:
        return (scales[0] * scales[1]).astype(np.float64) / scales[2].astype(np.float64)
    one, other, last = (scale.astype(np.float64) for scale in scales)
    return one * other / last
