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

INLINE int32x4_t dot3(int32x4_t sum, const int8x16_t *columns, const int8x16_t *w) {
    return vdotq_s32(vdotq_s32(vdotq_s32(sum, columns[0], w[0]), columns[1], w[1]), columns[2], w[2]);
}

INLINE void load_columns(int8x16_t *columns, const int8_t *in, int64_t row) {
    interleave(columns, vld1q_s8(in), vld1q_s8(in + row), vld1q_s8(in + 2 * row), vld1q_s8(in + 3 * row));
}

INLINE void rows_s1(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    int8x16_t columns[8];
    load_columns(columns + 4, in + EK_QUAD * last_vector(p) + BYTES, p->in_row);
    LOOP for (int64_t x = last_vector(p); x >= 0; x -= PIXELS) {
        load_columns(columns, in + EK_QUAD * x, p->in_row);
        EACH(r, 2) {
            int32x4_t sums[PIXELS];
            EACH(i, PIXELS) sums[i] = dot3(p->bias, columns + i, r ? f->lower : f->upper);
            put(p, out + r * p->out_row + EK_QUAD * x, sums, plain);
        }
        EACH(i, 2) columns[4 + i] = columns[i];
    }
}

/* 3 rows of 8 pixels to 8 columns; the fourth row has no weight */
INLINE void load_8_columns(int8x16_t *columns, const int8_t *in, int64_t row) {
    int8x16_t rows[3][2];
    EACH(y, 3) load_pair(rows[y], settled(in + y * row));
    EACH(i, 2) interleave(columns + 4 * i, rows[0][i], rows[1][i], rows[2][i], rows[2][i]);
}

INLINE void row_s2(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    int8x16_t columns[9];
    load_8_columns(columns, in + 2 * (EK_QUAD * last_vector(p) + BYTES), p->in_row);
    columns[8] = columns[0];
    LOOP for (int64_t x = last_vector(p); x >= 0; x -= PIXELS) {
        load_8_columns(columns, in + 2 * EK_QUAD * x, p->in_row);
        int32x4_t sums[PIXELS];
        EACH(i, PIXELS) sums[i] = dot3(p->bias, columns + 2 * i, f->upper);
        put(p, out + EK_QUAD * x, sums, plain);
        columns[8] = columns[0];
    }
}

#include "depthwise_arm.h"

DEPTHWISE(neondot)

#endif
