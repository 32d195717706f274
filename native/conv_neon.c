/* Convolutions on planes, ARMv8.0: SMULL, SMLAL and SADALP. Products of two entries are added in 16 bits, which the
   weights' packer keeps from overflowing. A vector of pixels has two sums, of 2 pixels and 2 halves of the quad. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "conv_finish_arm.h"

/* The quads of two entries, or of one alone: of n vectors */
typedef struct entries {
    int8x16_t first[2], second[2];
} entries;

INLINE int8x16_t every(int32x4_t words, const int lane) {
    return vreinterpretq_s8_s32(vdupq_n_s32(words[lane]));
}

/* halves[vector][2] += products of n vectors, 1 or 2, with two others. The end keeps the compiler from multiplying
   ahead until it runs out of registers. */
INLINE void multiply(int32x4_t *halves, const int n, const entries *x, int8x16_t first, int8x16_t second, const int both) {
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

INLINE int32x4_t whole(const int32x4_t *halves, int32x4_t bias) {
    return vaddq_s32(vpaddq_s32(halves[0], halves[1]), bias);
}

/* A list that `rows` channels share */
typedef struct list {
    const int8_t *in;
    const int32_t *offset, *word;
    int64_t pairs;
    int has_odd;
} list;

INLINE list list_of(const stroll *s, const int rows, int64_t group) {
    const int64_t begin = s->starts[group], count = s->starts[group + 1] - begin;
    return (list){s->in, s->offsets + begin, s->words + begin * rows, count / 2, count % 2};
}

/* Two entries, or the last one alone: halves[row][vector][2], lanes are pixels. */
INLINE void add_rows(int32x4_t (*halves)[2 * MOST], const int rows, const int n, const list *l, const int both) {
    const int8_t *a = settled(l->in + l->offset[0]), *b = both ? settled(l->in + l->offset[1]) : a;
    const int32x4_t w = rows == 4 ? vld1q_s32(l->word) : vcombine_s32(vld1_s32(l->word), vdup_n_s32(0));
    const int32x4_t other = rows == 4 && both ? vld1q_s32(l->word + 4) : vdupq_laneq_s32(w, 1);
    EACH(i, (n + 1) / 2) {
        entries x;
        load_some(x.first, n - 2 * i, a + 2 * i * BYTES);
        if (both) load_some(x.second, n - 2 * i, b + 2 * i * BYTES);
        EACH(r, rows) multiply(halves[r] + 4 * i, n - 2 * i < 2 ? 1 : 2, &x, every(w, r), every(other, r), both);
    }
}

/* sums[row][vector] of a group of `rows` channels */
INLINE void sum_rows(int32x4_t *sums, const int rows, const int n, const stroll *s, int64_t group) {
    int32x4_t halves[EK_QUAD][2 * MOST];
    EACH(r, rows) EACH(i, 2 * n) halves[r][i] = vdupq_n_s32(0);
    list l = list_of(s, rows, group);
    LOOP for (; l.pairs; l.pairs--, l.offset += 2, l.word += 2 * rows) add_rows(halves, rows, n, &l, 1);
    if (l.has_odd) add_rows(halves, rows, n, &l, 0);
    EACH(r, rows) EACH(v, n) sums[r * n + v] = whole(halves[r] + 2 * v, vdupq_n_s32(s->bias[group * rows + r]));
}

INLINE void add_list(int32x4_t *sums, const int n, const stroll *s, int64_t c) {
    sum_rows(sums, 1, n, s, c);
}

INLINE void fours(const stroll *s, int64_t q, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    sum_rows(sums, EK_QUAD, n, s, q);
    finish_rows(s, q, n, sums);
}

/* Two entries, or the last one alone: halves[pixel][quad][2], lanes are channels. */
INLINE void add_pixels(int32x4_t *halves, const list *l, const int both) {
    const int32x4_t x = vld1q_s32((const int32_t *)(l->in + l->offset[0]));
    const int32x4_t y = both ? vld1q_s32((const int32_t *)(l->in + l->offset[1])) : x;
    entries w;
    load_pair(w.first, (const int8_t *)l->word);
    if (both) load_pair(w.second, (const int8_t *)(l->word + 8));
    EACH(p, PIXELS) multiply(halves + 4 * p, 2, &w, every(x, p), every(y, p), both);
}

INLINE void eights(const stroll *s, int64_t q, const int n) {
    int32x4_t halves[PIXELS * 2 * 2], sums[2 * PIXELS];
    EACH(i, PIXELS * 2 * 2) halves[i] = vdupq_n_s32(0);
    list l = list_of(s, 8, q / 2);
    LOOP for (; l.pairs; l.pairs--, l.offset += 2, l.word += 16) add_pixels(halves, &l, 1);
    if (l.has_odd) add_pixels(halves, &l, 0);
    EACH(i, 2) EACH(p, PIXELS)
    sums[i * PIXELS + p] = whole(halves + 4 * p + 2 * i, vld1q_s32(s->bias + EK_QUAD * (q + i)));
    finish_pixels(s, q, n, sums);
    finish_pixels(s, q + 1, n, sums + PIXELS);
}

#define SINGLES(TILE)                                                                                     \
    TILE(singles, 1) TILE(singles, 2) TILE(singles, 3) TILE(singles, 4) TILE(singles, 5) TILE(singles, 6) \
    TILE(singles, 7) TILE(singles, 8)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2)
#define EIGHTS(TILE) TILE(eights, 1)

#include "conv_arm.h"

CONV(neon)

#endif
