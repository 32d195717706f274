/* Rows of int8 brought to length 1, in TFLite's fixed point. */

#include "plain.h"
#include "requantise.h"

enum { OUTPUT_BITS = 7 };

static inline int32_t saturated(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* 1 / sqrt(x) as a multiplier and the shift to the right that goes with it: five steps of Newton's method with three
   bits before the point, from 1. */
static int32_t inverse_square_root(int32_t x, int32_t *shift) {
    if (x <= 1) {
        *shift = 0;
        return INT32_MAX;
    }
    *shift = 11;
    for (; x >= 1 << 29; x /= 4) ++*shift;
    int pairs = (__builtin_clz((uint32_t)x) - 1) / 2 - 1;
    *shift -= pairs;
    x <<= 2 * pairs;
    int32_t half = ek_rounding_shift(x >> 1, 1), three_halves = (1 << 28) + (1 << 27), y = 1 << 28;
    for (int i = 0; i < 5; i++) {
        int32_t cube = saturated((int64_t)ek_doubling_high(ek_doubling_high(y, y), y) * 64);
        y = saturated(((int64_t)ek_doubling_high(three_halves, y) - ek_doubling_high(half, cube)) * 8);
    }
    y = ek_doubling_high(y, 1518500250);
    if (*shift < 0) {
        y = (int32_t)((uint32_t)y << -*shift);
        *shift = 0;
    }
    return y;
}

void ek_l2norm__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_l2norm *op = raw;
    for (int64_t row = begin; row < end; row++) {
        const int8_t *in = (const int8_t *)EK_SOURCE_OF(op, input, arena) + row * op->depth;
        int8_t *out = (int8_t *)arena + op->output + row * op->depth;
        int32_t sum = 0, shift;
        for (int64_t i = 0; i < op->depth; i++) sum += (in[i] - op->zero_point) * (in[i] - op->zero_point);
        int32_t multiplier = inverse_square_root(sum, &shift);
        for (int64_t i = 0; i < op->depth; i++)
            out[i] = (int8_t)ek_clamp(ek_multiply(in[i] - op->zero_point, multiplier, OUTPUT_BITS - shift), -128, 127);
    }
}

const char *ek_l2norm_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_l2norm *op = raw;
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->depth && op->depth <= EK_MAX_DEPTH, "impossible sizes");
    CHECK(-128 <= op->zero_point && op->zero_point <= 127, "an impossible zero point");
    int64_t bytes = op->rows * op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 1);
    CHECK_RANGE(op->output, bytes);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}
