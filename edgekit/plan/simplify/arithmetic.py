"""TFLite's arithmetic on whole numbers, exactly: fixed-point multipliers, rounding, clamps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekit.model.graph import Tensor

Integers = NDArray[np.int64]


def fixed_point(factors: ArrayLike) -> tuple[Integers, Integers]:
    """Factors as `multiplier * 2**(shift - 31)` with 31-bit multipliers."""
    fraction, exponent = np.frexp(np.asarray(factors, np.float64))
    multiplier = np.floor(fraction * 2**31 + 0.5).astype(np.int64)
    full = multiplier == 2**31
    shift = exponent.astype(np.int64) + full
    vanishes = shift < -31
    return np.where(vanishes, 0, multiplier >> full), np.where(vanishes, 0, shift)


def multiply(values: Integers, factors: ArrayLike) -> Integers:
    """`values * factors`, rounded twice as the reference kernels do: the product, then the right shift."""
    multiplier, shift = fixed_point(factors)
    product = (values << np.maximum(shift, 0)) * multiplier
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    right = np.maximum(-shift, 0)
    mask = (1 << right) - 1
    return np.asarray((high >> right) + ((high & mask) > (mask >> 1) + (high < 0)), np.int64)


def round_half_away(values: NDArray[Any]) -> Integers:
    """To the nearest whole number, ties away from zero."""
    return np.asarray(np.trunc(values + np.copysign(np.float64(0.5), values)), np.int64)


def clamp(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Values in the tensor's type, those outside it at its ends."""
    limits = np.iinfo(tensor.dtype)
    return np.asarray(np.clip(values, limits.min, limits.max), tensor.dtype)


def quantize(real: NDArray[np.float32], tensor: Tensor) -> NDArray[Any] | None:
    """Floats as the tensor stores them; None where one is so large that the reference is not defined."""
    scaled = real / np.asarray(tensor.scale, np.float32)
    if tensor.dtype.kind not in "iu" or not np.all(np.abs(scaled) < 2**30):
        return None
    return clamp(round_half_away(scaled) + np.asarray(tensor.zero_point), tensor)


def dequantize(tensor: Tensor) -> NDArray[np.float32]:
    """What a constant stands for."""
    stored = np.asarray(tensor.data, np.int64) - np.asarray(tensor.zero_point)
    return np.asarray(stored * np.asarray(tensor.scale, np.float64), np.float32)


def requantize(source: Tensor, result: Tensor) -> NDArray[Any] | None:
    """A constant of 8 bits as another tensor of 8 bits stores it."""
    values = requantize_values(np.asarray(source.data, np.int64), source, result)
    return None if values is None else clamp(values, result)


def requantize_values(values: Integers, source: Tensor, result: Tensor) -> Integers | None:
    """Stored values of one tensor of 8 bits as another one stores them; None where that is not defined."""
    scales = [tensor.scale for tensor in (source, result) if tensor.dtype in (np.int8, np.uint8)]
    if len(scales) < 2 or scales[0] is None or scales[1] is None or not len(scales[0]) == len(scales[1]) == 1:
        return None
    factor = float(scales[0][0]) / float(scales[1][0])
    if not 2**-31 < factor < 2**16:
        return None
    scaled = multiply(values - np.asarray(source.zero_point), factor) + np.asarray(result.zero_point)
    return clamp(scaled, result).astype(np.int64)


def sum_factors(kind: str, source: Tensor, weights: Tensor, result: Tensor) -> NDArray[np.float64]:
    """From the sums of a layer of this kind to what is stored: one a scale of the weights.

    Convolutions that were uint8, known by weights of int16, have the first product in single precision.
    """
    scales = [np.asarray(tensor.scale, np.float32) for tensor in (source, weights, result)]
    if weights.dtype == np.int16 and kind != "FULLY_CONNECTED":
        return (scales[0] * scales[1]).astype(np.float64) / scales[2].astype(np.float64)
    one, other, last = (scale.astype(np.float64) for scale in scales)
    return one * other / last
