/* Functions of two quantised bytes: sums and products in TFLite's arithmetic, and any other as a table. */

#include "plain.h"
#include "requantise.h"

/* A line whose operands are `a_step` and `b_step` bytes apart */
#define LOOP(sign, a_step, b_step)                                                                             \
    for (int64_t i = 0; i < count; i++) {                                                                      \
        int32_t value = ek_times(f, firsts[a[i * (a_step)]] sign seconds[b[i * (b_step)]]) + zero_point;       \
        out[i] = (uint8_t)(value < low ? low : value > high ? high : value);                                   \
    }

#define LINE(name, sign)                                                                                       \
    static void name(const void *raw, const uint8_t *a, int64_t a_stride, const uint8_t *b, int64_t b_stride,  \
                     uint8_t *out, int64_t count) {                                                            \
        const ek_arithmetic *op = raw;                                                                         \
        const int32_t *firsts = op->first_values, *seconds = op->second_values;                                \
        int32_t zero_point = op->zero_point, low = op->low, high = op->high;                                   \
        ek_factor f = ek_factor_of(op->multiplier, op->shift);                                                 \
        if (a_stride == 1 && b_stride == 1)                                                                    \
            LOOP(sign, 1, 1)                                                                                   \
        else                                                                                                   \
            LOOP(sign, a_stride, b_stride)                                                                     \
    }
LINE(add_line, +)
LINE(multiply_line, *)

void ek_arithmetic__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_arithmetic *op = raw;
    EK_WALK(op, op->product ? multiply_line : add_line, arena, 1, begin, end);
}

/* The largest of 256 absolute values */
static int64_t reach(const int32_t *values) {
    int64_t most = 0;
    for (int i = 0; i < 256; i++) {
        int64_t size = values[i] < 0 ? -(int64_t)values[i] : values[i];
        if (size > most) most = size;
    }
    return most;
}

const char *ek_arithmetic_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_arithmetic *op = raw;
    CHECK(op->first_values_size == 256 && op->second_values_size == 256, "a table of another size");
    int64_t a = reach(op->first_values), b = reach(op->second_values);
    CHECK((op->product ? a * b : a + b) < EK_LIMIT, "numbers beyond 32 bits");
    CHECK(-31 <= op->shift && op->shift <= 30 && op->multiplier >= 0, "an impossible multiplier");
    CHECK(-128 <= op->zero_point && op->zero_point <= 255, "an impossible zero point");
    CHECK(-128 <= op->low && op->low <= op->high && op->high <= 255, "an impossible clamp");
    CHECK_OPERANDS(op, 1, 1);
    return NULL;
}

static void pair_line(const void *raw, const uint8_t *a, int64_t a_stride, const uint8_t *b, int64_t b_stride,
                      uint8_t *out, int64_t count) {
    const ek_pair *op = raw;
    for (int64_t i = 0; i < count; i++) out[i] = op->table[a[i * a_stride] << 8 | b[i * b_stride]];
}

void ek_pair__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pair *op = raw;
    EK_WALK(op, pair_line, arena, 1, begin, end);
}

const char *ek_pair_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_pair *op = raw;
    CHECK(op->table_size == 65536, "a table of another size");
    CHECK_OPERANDS(op, 1, 1);
    return NULL;
}
