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

/* Two entries, or the last one alone: halves[row][vector][2], lanes are pixels. */
INLINE void add_rows(int32x4_t (*halves)[2 * MOST], const int rows, const int n, const int8_t *in, const int32_t *entry,
                     const int both) {
    const int8_t *a = settled(in + entry[0]), *b = both ? settled(in + entry[1 + rows]) : a;
    const int32x4_t w = rows == 4 ? vld1q_s32(entry + 1) : vld1q_dup_s32(entry + 1);
    const int32x4_t other = !both ? w : rows == 4 ? vld1q_s32(entry + 6) : vld1q_dup_s32(entry + 3);
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
    LOOP for (; l.end - l.entry > 1 + rows; l.entry += 2 * (1 + rows)) add_rows(halves, rows, n, s->in, l.entry, 1);
    if (l.entry != l.end) add_rows(halves, rows, n, s->in, l.entry, 0);
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
INLINE void add_pixels(int32x4_t *halves, const int8_t *in, const int32_t *entry, const int both) {
    const int32x4_t x = vld1q_s32((const int32_t *)(in + entry[0]));
    const int32x4_t y = both ? vld1q_s32((const int32_t *)(in + entry[9])) : x;
    entries w;
    load_pair(w.first, (const int8_t *)(entry + 1));
    if (both) load_pair(w.second, (const int8_t *)(entry + 10));
    EACH(p, PIXELS) multiply(halves + 4 * p, 2, &w, every(x, p), every(y, p), both);
}

INLINE void eights(const stroll *s, int64_t q, const int n) {
    int32x4_t halves[PIXELS * 2 * 2], sums[2 * PIXELS];
    EACH(i, PIXELS * 2 * 2) halves[i] = vdupq_n_s32(0);
    list l = list_of(s, 8, q / 2);
    LOOP for (; l.end - l.entry > 9; l.entry += 18) add_pixels(halves, s->in, l.entry, 1);
    if (l.entry != l.end) add_pixels(halves, s->in, l.entry, 0);
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
