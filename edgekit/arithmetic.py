"""TFLite's integer arithmetic, to the bit."""

from __future__ import annotations

import math


def quantize_multiplier(factor: float) -> tuple[int, int]:
    """`factor` as (multiplier, shift): factor = multiplier * 2^(shift - 31), multiplier in 2^30..2^31 or 0.

    TFLite's QuantizeMultiplier.
    """
    if factor == 0:
        return 0, 0
    mantissa, shift = math.frexp(factor)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)
