/* Depthwise convolutions on planes, ARMv8.0: SMULL and SMLAL. The products of a row of the window are added in 16 bits
   where their weights are small enough, and otherwise those of 2 taps. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include <stdlib.h>

#include "depthwise_finish_arm.h"

enum { LARGEST_SUM = 32767 / 128 /* of the magnitudes of weights whose products are added in 16 bits */ };

typedef struct filter {
    int8x16_t taps[9];
    int by_row;
} filter;

/* The largest sum over a row of the window, of any channel */
INLINE int largest_row(const plane *p) {
    int largest = 0;
    for (int i = 0; i < 12; i++) {
        const int8_t *w = p->weights + i / 4 * 3 * EK_QUAD + i % 4;
        const int sum = abs(w[0]) + abs(w[EK_QUAD]) + abs(w[2 * EK_QUAD]);
        largest = sum > largest ? sum : largest;
    }
    return largest;
}

INLINE filter filter_of(const plane *p) {
    filter f;
    EACH(i, 9) f.taps[i] = tap(p->weights + EK_QUAD * i);
    f.by_row = largest_row(p) <= LARGEST_SUM;
    return f;
}

/* A weight of -128 may be too much for two. */
INLINE int filter_suits(const plane *p) {
    int least = 0;
    for (int i = 0; i < 9 * EK_QUAD; i++) least = p->weights[i] < least ? p->weights[i] : least;
    return least > -128;
}

typedef struct products {
    int16x8_t low, high;
} products;

INLINE products multiply(int8x16_t x, int8x16_t w) {
    return (products){vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w)};
}

INLINE products multiply_add(products sum, int8x16_t x, int8x16_t w) {
    return (products){vmlal_s8(sum.low, vget_low_s8(x), vget_low_s8(w)), vmlal_high_s8(sum.high, x, w)};
}

/* Row y of the window: x are its 3 taps' pixels. Where a row is too much for 16 bits its last tap waits for the next
   row's. */
INLINE void add_row(int32x4_t *sums, const int8x16_t *x, const int8x16_t *w, products *rest, const int y,
                    const int by_row) {
    products sum = multiply_add(multiply(x[0], w[0]), x[1], w[1]);
    if (by_row) sum = multiply_add(sum, x[2], w[2]);
    widen(sums, sum.low, sum.high);
    if (by_row) return;
    *rest = y == 1 ? multiply_add(*rest, x[2], w[2]) : multiply(x[2], w[2]);
    if (y > 0) widen(sums, rest->low, rest->high);
}

/* 4 pixels of two rows */
INLINE void square_s1(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain,
                      const int by_row) {
    int32x4_t upper[PIXELS], lower[PIXELS];
    products upper_rest = {0}, lower_rest = {0};
    EACH(i, PIXELS) upper[i] = lower[i] = p->bias;
    EACH(y, 4) {
        int8x16_t x[3];
        EACH(i, 3) x[i] = vld1q_s8(in + y * p->in_row + EK_QUAD * i);
        if (y < 3) add_row(upper, x, f->taps + 3 * y, &upper_rest, y, by_row);
        if (y > 0) add_row(lower, x, f->taps + 3 * (y - 1), &lower_rest, y - 1, by_row);
    }
    put(p, out, upper, plain);
    put(p, out + p->out_row, lower, plain);
}

INLINE void square_s2(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain,
                      const int by_row) {
    int32x4_t sums[PIXELS];
    products rest = {0};
    EACH(i, PIXELS) sums[i] = p->bias;
    EACH(y, 3) {
        const int8_t *row = in + y * p->in_row;
        const int32x4x2_t two = vld2q_s32((const int32_t *)row);
        const int8x16_t x[3] = {vreinterpretq_s8_s32(two.val[0]), vreinterpretq_s8_s32(two.val[1]),
                                load_even(row + 2 * EK_QUAD)};
        add_row(sums, x, f->taps + 3 * y, &rest, y, by_row);
    }
    put(p, out, sums, plain);
}

INLINE void rows_s1(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    if (f->by_row)
        LOOP for (int64_t x = EK_QUAD * last_vector(p); x >= 0; x -= BYTES)
            square_s1(p, f, in + x, out + x, plain, 1);
    else
        LOOP for (int64_t x = EK_QUAD * last_vector(p); x >= 0; x -= BYTES)
            square_s1(p, f, in + x, out + x, plain, 0);
}

INLINE void row_s2(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    if (f->by_row)
        LOOP for (int64_t x = EK_QUAD * last_vector(p); x >= 0; x -= BYTES)
            square_s2(p, f, in + 2 * x, out + x, plain, 1);
    else
        LOOP for (int64_t x = EK_QUAD * last_vector(p); x >= 0; x -= BYTES)
            square_s2(p, f, in + 2 * x, out + x, plain, 0);
}

#include "depthwise_arm.h"

DEPTHWISE(neon)

#endif
