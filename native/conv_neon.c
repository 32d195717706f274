/* Convolutions on planes, ARMv8.0: SMULL, SMLAL and SADALP. Products of two entries are added in 16 bits, which the
   weights' packer keeps from overflowing. A vector of pixels has two sums, of 2 pixels and 2 halves of the quad. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "conv_finish_arm.h"

/* What two entries, or one alone, multiply: n vectors, 1 or 2, of each */
typedef struct pixels {
    int8x16_t first[2], second[2];
} pixels;

INLINE int8x16_t every(int32x4_t words, const int lane) {
    return vreinterpretq_s8_s32(vdupq_n_s32(words[lane]));
}

/* halves[vector][2] += products of n vectors, 1 or 2, with two others. The end keeps the compiler from multiplying
   ahead until it runs out of registers. */
INLINE void multiply(int32x4_t *halves, const int n, const pixels *x, int8x16_t first, int8x16_t second, const int both) {
    int16x8_t low[2], high[2];
    EACH(k, n) low[k] = vmull_s8(vget_low_s8(x->first[k]), vget_low_s8(first)), high[k] = vmull_high_s8(x->first[k], first);
    if (both) EACH(k, n) {
        low[k] = vmlal_s8(low[k], vget_low_s8(x->second[k]), vget_low_s8(second));
        high[k] = vmlal_high_s8(high[k], x->second[k], second);
    }
    EACH(i, 2 * n) {
        int32x4_t sum = vpadalq_s16(halves[i], i % 2 ? high[i / 2] : low[i / 2]);
        __asm__ volatile("" : "+w"(sum));
        halves[i] = sum;
    }
}

/* Two entries, or the last one alone: halves[row][vector][2]; `b` is `a` then. */
INLINE void add_entries(int32x4_t (*halves)[2 * MOST], const int rows, const int n, const int8_t *in, const int32_t *a,
                        const int32_t *b, const int32_t *words, const int both) {
    const int8_t *first = settled(in + a[0]), *second = both ? settled(in + b[0]) : first;
    const int32x4_t w = rows == 4 ? vld1q_s32(words) : vld1q_dup_s32(words);
    const int32x4_t other = !both ? w : rows == 4 ? vld1q_s32(words + (b - a)) : vld1q_dup_s32(words + (b - a));
    EACH(i, (n + 1) / 2) {
        pixels x;
        load_some(x.first, n - 2 * i, first + 2 * i * BYTES);
        if (both) load_some(x.second, n - 2 * i, second + 2 * i * BYTES);
        EACH(r, rows) multiply(halves[r] + 4 * i, n - 2 * i < 2 ? 1 : 2, &x, every(w, r), every(other, r), both);
    }
}

/* The bias in the first of two halves of each pixel */
INLINE int32x4_t half_bias(const int32_t *bias) {
    const int32x2_t first = vld1_lane_s32(bias, vdup_n_s32(0), 0);
    return vcombine_s32(first, first);
}

/* sums[row][vector] of channels c..c + rows - 1 */
INLINE void add_rows(int32x4_t *sums, const int rows, const int n, const stroll *s, int64_t c) {
    int32x4_t halves[EK_QUAD][2 * MOST];
    EACH(r, rows) EACH(i, 2 * n) halves[r][i] = half_bias(s->bias + c + r);
    list l = list_of(s, rows, c);
    const int32_t *last = l.end - (l.is_odd ? l.size : 0);
    LOOP for (; l.entry != last; l.entry += 2 * l.size)
        add_entries(halves, rows, n, s->in, l.entry, l.entry + l.size, l.entry + l.word, 1);
    if (l.is_odd) add_entries(halves, rows, n, s->in, l.entry, l.entry, l.entry + l.word, 0);
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
