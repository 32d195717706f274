/* Depthwise convolutions on planes, ARMv8.2 with SDOT: 4 rows of a column of pixels are interleaved, so that a lane
   holds 4 rows of one channel. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

#include "depthwise_finish_arm.h"

/* 4 rows of 4 pixels to 4 columns */
INLINE void interleave(int8x16_t *columns, int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d) {
    const int16x8_t ab[2] = {vreinterpretq_s16_s8(vzip1q_s8(a, b)), vreinterpretq_s16_s8(vzip2q_s8(a, b))};
    const int16x8_t cd[2] = {vreinterpretq_s16_s8(vzip1q_s8(c, d)), vreinterpretq_s16_s8(vzip2q_s8(c, d))};
    EACH(i, 2) {
        columns[2 * i] = vreinterpretq_s8_s16(vzip1q_s16(ab[i], cd[i]));
        columns[2 * i + 1] = vreinterpretq_s8_s16(vzip2q_s16(ab[i], cd[i]));
    }
}

/* By column of the window: its weights for the first 3 of 4 rows, and for the last 3 */
typedef struct filter {
    int8x16_t upper[3], lower[3];
} filter;

INLINE filter filter_of(const plane *p) {
    filter f;
    EACH(x, 3) {
        const int8_t *w = p->weights + EK_QUAD * x;
        int8x16_t columns[4];
        interleave(columns, tap(w), tap(w + 3 * EK_QUAD), tap(w + 6 * EK_QUAD), vdupq_n_s8(0));
        f.upper[x] = columns[0];
        f.lower[x] = vreinterpretq_s8_s32(vshlq_n_s32(vreinterpretq_s32_s8(columns[0]), 8));
    }
    return f;
}

INLINE int filter_suits(const plane *p) {
    (void)p;
    return 1;
}

INLINE int32x4_t dot3(int32x4_t sum, int8x16_t a, int8x16_t b, int8x16_t c, const int8x16_t *w) {
    return vdotq_s32(vdotq_s32(vdotq_s32(sum, a, w[0]), b, w[1]), c, w[2]);
}

INLINE void load_columns(int8x16_t *columns, const int8_t *in, int64_t row) {
    interleave(columns, vld1q_s8(in), vld1q_s8(in + row), vld1q_s8(in + 2 * row), vld1q_s8(in + 3 * row));
}

/* 4 pixels of two rows, from 6 of 8 columns */
INLINE void square_s1(const plane *p, const filter *f, const int8x16_t *columns, int8_t *out, const int plain) {
    EACH(r, 2) {
        const int8x16_t *w = r ? f->lower : f->upper;
        int32x4_t sums[PIXELS];
        EACH(i, PIXELS) sums[i] = dot3(p->bias, columns[i], columns[i + 1], columns[i + 2], w);
        put(p, out + r * p->out_row, sums, plain);
    }
}

INLINE void rows_s1(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    int8x16_t columns[8];
    load_columns(columns, in, p->in_row);
    int64_t x = 0;
    _Pragma("GCC unroll 2") for (; x + PIXELS <= p->width; x += PIXELS) {
        load_columns(columns + 4, in + EK_QUAD * x + BYTES, p->in_row);
        square_s1(p, f, columns, out + EK_QUAD * x, plain);
        EACH(i, 4) columns[i] = columns[4 + i];
    }
    if (x == p->width) return;
    x = EK_QUAD * (p->width - PIXELS);
    load_columns(columns, in + x, p->in_row);
    load_columns(columns + 4, in + x + BYTES, p->in_row);
    square_s1(p, f, columns, out + x, plain);
}

/* Even and odd columns of 8 pixels */
INLINE void load_phases(int8x16_t *even, int8x16_t *odd, const int8_t *in, int64_t row) {
    int8x16_t rows[2][3];
    EACH(y, 3) {
        const int32x4x2_t pixels = vld2q_s32((const int32_t *)(in + y * row));
        EACH(i, 2) rows[i][y] = vreinterpretq_s8_s32(pixels.val[i]);
    }
    interleave(even, rows[0][0], rows[0][1], rows[0][2], rows[0][2]);
    interleave(odd, rows[1][0], rows[1][1], rows[1][2], rows[1][2]);
}

INLINE void row_s2(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    int8x16_t even[8], odd[8];
    load_phases(even, odd, in, p->in_row);
    LOOP for (int64_t x = 0; x < p->width; x += PIXELS) {
        if (x > p->width - PIXELS) {
            x = p->width - PIXELS;
            load_phases(even, odd, in + 2 * EK_QUAD * x, p->in_row);
        }
        load_phases(even + 4, odd + 4, in + 2 * (EK_QUAD * x + BYTES), p->in_row);
        int32x4_t sums[PIXELS];
        EACH(i, PIXELS) sums[i] = dot3(p->bias, even[i], odd[i], even[i + 1], f->upper);
        put(p, out + EK_QUAD * x, sums, plain);
        EACH(i, 4) even[i] = even[4 + i], odd[i] = odd[4 + i];
    }
}

#include "depthwise_arm.h"

DEPTHWISE(neondot)

#endif
