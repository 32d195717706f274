/* Convolutions on planes, ARMv8.0: SMULL, SMLAL and SADALP. Products of two entries are added in 16 bits, which the
   weights' packer keeps from overflowing. A vector of pixels has two sums, of 2 pixels and 2 halves of the quad. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "conv_finish_arm.h"

/* Products of the quads of two entries */
typedef struct products {
    int16x8_t low, high;
} products;

INLINE products multiply(int8x16_t x, int8x16_t w) {
    return (products){vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w)};
}

INLINE products multiply_add(products sum, int8x16_t x, int8x16_t w) {
    return (products){vmlal_s8(sum.low, vget_low_s8(x), vget_low_s8(w)), vmlal_high_s8(sum.high, x, w)};
}

INLINE void accumulate(int32x4_t *halves, products p) {
    halves[0] = vpadalq_s16(halves[0], p.low);
    halves[1] = vpadalq_s16(halves[1], p.high);
}

INLINE int8x16_t every_word(const int32_t *word) {
    return vreinterpretq_s8_s32(vld1q_dup_s32(word));
}

/* The two entries from e on, or the last one alone, of the list that `rows` channels share */
INLINE void add_entries(int32x4_t (*halves)[2 * MOST], const int rows, const int n, const int8_t *in,
                        const int32_t *entry, const int both) {
    const int32_t *next = entry + 1 + rows;
    const int8_t *a = in + entry[0], *b = in + (both ? next[0] : 0);
    int8x16_t x[MOST], y[MOST];
    EACH(v, n) x[v] = vld1q_s8(a + v * BYTES);
    if (both) EACH(v, n) y[v] = vld1q_s8(b + v * BYTES);
    EACH(r, rows) {
        const int8x16_t first = every_word(entry + 1 + r), second = both ? every_word(next + 1 + r) : first;
        EACH(v, n) {
            products p = multiply(x[v], first);
            accumulate(halves[r] + 2 * v, both ? multiply_add(p, y[v], second) : p);
        }
    }
}

/* sums[row][vector]: lanes are pixels. */
INLINE void add_rows(int32x4_t *sums, const int rows, const int n, const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    const int32_t *entry = ek_conv_entry(conv, c / rows, rows), *end = ek_conv_entry(conv, c / rows + 1, rows);
    const int32_t size = 1 + rows;
    int32x4_t halves[EK_QUAD][2 * MOST];
    EACH(r, rows) EACH(i, 2 * n) halves[r][i] = vdupq_n_s32(0);
    LOOP for (; end - entry > size; entry += 2 * size) add_entries(halves, rows, n, at->in, entry, 1);
    if (entry != end) add_entries(halves, rows, n, at->in, entry, 0);
    EACH(r, rows) EACH(v, n)
    sums[r * n + v] = vaddq_s32(vpaddq_s32(halves[r][2 * v], halves[r][2 * v + 1]), vdupq_n_s32(conv->bias[c + r]));
}

INLINE void add_list(int32x4_t *sums, const int n, const spot *at, int64_t c) {
    add_rows(sums, 1, n, at, c);
}

INLINE void fours(const spot *at, int64_t c, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    add_rows(sums, EK_QUAD, n, at, c);
    finish_rows(at, c, n, sums);
}

/* Pixel p of the two entries with weights of 8 channels: halves[quad][pixel][2], lanes are channels. */
INLINE void add_pixel(int32x4_t *halves, const int8_t *a, const int8_t *b, const int8x16_t *w, const int both) {
    const int8x16_t x = every_word((const int32_t *)a), y = every_word((const int32_t *)b);
    EACH(q, 2) {
        products p = multiply(w[q], x);
        accumulate(halves + q * 2 * PIXELS, both ? multiply_add(p, w[2 + q], y) : p);
    }
}

INLINE void add_pixels(int32x4_t *halves, const int8_t *in, const int32_t *entry, const int both) {
    int8x16_t w[4];
    EACH(i, 2) w[i] = vreinterpretq_s8_s32(vld1q_s32(entry + 1 + EK_QUAD * i));
    if (both) EACH(i, 2) w[2 + i] = vreinterpretq_s8_s32(vld1q_s32(entry + 10 + EK_QUAD * i));
    const int8_t *a = in + entry[0], *b = both ? in + entry[9] : a;
    EACH(p, PIXELS) add_pixel(halves + 2 * p, a + EK_QUAD * p, b + EK_QUAD * p, w, both);
}

/* 4 pixels of 8 channels */
INLINE void eights(const spot *at, int64_t c, const int n) {
    const ek_conv *conv = at->conv;
    const int32_t *entry = ek_conv_entry(conv, c / 8, 8), *end = ek_conv_entry(conv, c / 8 + 1, 8);
    int32x4_t halves[2 * 2 * PIXELS], sums[2 * PIXELS];
    EACH(i, 2 * 2 * PIXELS) halves[i] = vdupq_n_s32(0);
    LOOP for (; end - entry > 9; entry += 18) add_pixels(halves, at->in, entry, 1);
    if (entry != end) add_pixels(halves, at->in, entry, 0);
    EACH(q, 2) EACH(p, PIXELS) {
        const int32x4_t *both = halves + 2 * (q * PIXELS + p);
        sums[q * PIXELS + p] = vaddq_s32(vpaddq_s32(both[0], both[1]), vld1q_s32(conv->bias + c + EK_QUAD * q));
    }
    finish_pixels(at, c, n, sums);
    finish_pixels(at, c + EK_QUAD, n, sums + PIXELS);
}

#define SINGLES(TILE)                                                                                     \
    TILE(singles, 1) TILE(singles, 2) TILE(singles, 3) TILE(singles, 4) TILE(singles, 5) TILE(singles, 6) \
    TILE(singles, 7) TILE(singles, 8)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2)
#define EIGHTS(TILE) TILE(eights, 1)

#include "conv_arm.h"

CONV(neon)

#endif
