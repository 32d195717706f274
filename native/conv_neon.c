/* Convolutions on planes, ARMv8.0: SMULL, SMLAL and SADALP. Products of two or four entries are added in 16 bits, which
   the weights' packer keeps from overflowing. A vector of pixels has two vectors of sums, of 2 pixels and 2 halves of
   the quad each. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "conv_finish_arm.h"

INLINE int8x16_t every(int32x4_t words, const int lane) {
    return vreinterpretq_s8_s32(vdupq_n_s32(words[lane]));
}

/* Products of n vectors of pixels, 1 or 2, added up in 16 bits */
typedef struct products {
    int16x8_t low[2], high[2];
} products;

INLINE void multiply(products *to, const int n, const int is_first, const int8x16_t *x, int8x16_t w) {
    EACH(k, n) if (is_first) {
        to->low[k] = vmull_s8(vget_low_s8(x[k]), vget_low_s8(w));
        to->high[k] = vmull_high_s8(x[k], w);
    } else {
        to->low[k] = vmlal_s8(to->low[k], vget_low_s8(x[k]), vget_low_s8(w));
        to->high[k] = vmlal_high_s8(to->high[k], x[k], w);
    }
}

/* halves[vector][2] += products. The end keeps the compiler from multiplying ahead until it runs out of registers. */
INLINE void widen(int32x4_t *halves, const int n, const products *from) {
    EACH(i, 2 * n) {
        int32x4_t sum = vpadalq_s16(halves[i], i % 2 ? from->high[i / 2] : from->low[i / 2]);
        __asm__ volatile("" : "+w"(sum));
        halves[i] = sum;
    }
}

/* 1, 2 or 4 entries of a list that `rows` channels share: halves[row][vector][2] */
INLINE void add_entries(int32x4_t (*halves)[2 * MOST], const int rows, const int n, const int count, const int8_t *in,
                        const list *l) {
    const int8_t *from[4];
    int32x4_t words[4];
    EACH(e, count) {
        from[e] = settled(in + l->entry[e * l->size]);
        const int32_t *word = l->entry + e * l->size + l->word;
        words[e] = rows == 4 ? vld1q_s32(word) : vld1q_dup_s32(word);
    }
    EACH(i, (n + 1) / 2) {
        int8x16_t x[4][2];
        EACH(e, count) load_some(x[e], n - 2 * i, from[e] + 2 * i * BYTES);
        const int some = n - 2 * i < 2 ? 1 : 2;
        EACH(r, rows) {
            products sum;
            EACH(e, count) multiply(&sum, some, e == 0, x[e], every(words[e], r));
            widen(halves[r] + 4 * i, some, &sum);
        }
    }
}

/* The bias in the first of two halves of each pixel */
INLINE int32x4_t half_bias(const int32_t *bias) {
    const int32x2_t first = vld1_lane_s32(bias, vdup_n_s32(0), 0);
    return vcombine_s32(first, first);
}

/* sums[row][vector] of channels c..c + rows - 1. Runs of four make too many registers for several rows. */
INLINE void add_rows(int32x4_t *sums, const int rows, const int n, const stroll *s, int64_t c) {
    int32x4_t halves[EK_QUAD][2 * MOST];
    EACH(r, rows) EACH(i, 2 * n) halves[r][i] = half_bias(s->bias + c + r);
    list l = list_of(s, rows, c);
    if (rows == 1)
        LOOP for (; l.entry != l.fours_end; l.entry += 4 * l.size) add_entries(halves, rows, n, 4, s->in, &l);
    const int32_t *last = l.end - (l.is_odd ? l.size : 0);
    LOOP for (; l.entry != last; l.entry += 2 * l.size) add_entries(halves, rows, n, 2, s->in, &l);
    if (l.is_odd) add_entries(halves, rows, n, 1, s->in, &l);
    EACH(r, rows) EACH(v, n) sums[r * n + v] = vpaddq_s32(halves[r][2 * v], halves[r][2 * v + 1]);
}

INLINE void add_list(int32x4_t *sums, const int n, const stroll *s, int64_t c) {
    add_rows(sums, 1, n, s, c);
}

INLINE void fours(const stroll *s, int64_t q, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    add_rows(sums, EK_QUAD, n, s, EK_QUAD * q);
    finish_rows(s, q, n, sums);
}

#define SINGLES(TILE)                                                                                     \
    TILE(singles, 1) TILE(singles, 2) TILE(singles, 3) TILE(singles, 4) TILE(singles, 5) TILE(singles, 6) \
    TILE(singles, 7) TILE(singles, 8)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2)

#include "conv_arm.h"

CONV(neon)

#endif
