/* From a sum to a stored byte, in words that every level repeats in its own: see EK_REQUANTISE in ops_conv.h. */

#ifndef EK_REQUANTISE_H
#define EK_REQUANTISE_H

#include <math.h>
#include <string.h>

#include "ops.h"

static inline int32_t ek_clamp(int32_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : value;
}

/* round(a * b / 2^31), ties up, which is what gemmlowp's comes to; the one product that does not fit saturates. */
static inline int32_t ek_doubling_high(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* round(x / 2^exponent), ties away from zero (gemmlowp's); exponent is 0..31 */
static inline int32_t ek_rounding_shift(int32_t x, int32_t exponent) {
    int32_t mask = (int32_t)((INT64_C(1) << exponent) - 1), rest = x & mask;
    return (x >> exponent) + (rest > (mask >> 1) + (x < 0));
}

/* TFLite's MultiplyByQuantizedMultiplier; shift is -31..30 */
static inline int32_t ek_multiply(int32_t x, int32_t multiplier, int32_t shift) {
    int32_t shifted = (int32_t)((uint32_t)x << (shift > 0 ? shift : 0));
    return ek_rounding_shift(ek_doubling_high(shifted, multiplier), shift < 0 ? -shift : 0);
}

static inline int32_t ek_saturated(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* 1 / (1 + x) for x in 0..1, of 31 bits both: Newton's method on 1 / ((1 + x) / 2), with two bits before the point. */
static inline int32_t ek_inverse_of_one_plus(int32_t x) {
    int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + ek_doubling_high(half, -1010580540);
    for (int i = 0; i < 3; i++) {
        int32_t rest = (1 << 29) - ek_doubling_high(half, y);
        y += ek_saturated((int64_t)ek_doubling_high(y, rest) * 4);
    }
    return ek_saturated((int64_t)y * 2);
}

/* The same for one multiplier and many numbers, without a branch: half of what the right shift drops, and -1 if that is
   anything, which for negative numbers takes ties away from zero. */
typedef struct ek_factor {
    int64_t multiplier, half, drops;
    int32_t left, right;
} ek_factor;

static inline ek_factor ek_factor_of(int32_t multiplier, int32_t shift) {
    int32_t right = shift < 0 ? -shift : 0;
    return (ek_factor){multiplier, right ? INT64_C(1) << (right - 1) : 0, right ? -1 : 0, shift > 0 ? shift : 0, right};
}

static inline int32_t ek_times(ek_factor f, int32_t x) {
    int64_t y = ((int64_t)(int32_t)((uint32_t)x << f.left) * f.multiplier + (INT64_C(1) << 30)) >> 31;
    return (int32_t)((y + f.half + (y >> 63 & f.drops)) >> f.right);
}

/* The fast way: one rounding, to nearest even. */
static inline int32_t ek_scale(int32_t sum, float scale, int32_t zero_point) {
    return (int32_t)nearbyintf(fmaf((float)sum, scale, (float)zero_point));
}

/* The same of a sum that is `biased`: see EK_CONV in ops_conv.h. */
static inline int32_t ek_scale_biased(int32_t sum, float scale, float biased_zero_point) {
    float real;
    memcpy(&real, &sum, sizeof real);
    return (int32_t)nearbyintf(fmaf(real, scale, biased_zero_point));
}

#define EK_REQUANTISED(op, c, sum)                                                                          \
    ek_clamp((op)->exact ? ek_multiply(sum, (op)->multiplier[c], (op)->shift[c]) + (op)->zero_point         \
                         : ek_scale(sum, (op)->scale[c], (op)->zero_point),                                 \
             (op)->low, (op)->high)

#endif
