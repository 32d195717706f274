/* Fully connected layers, int8, ARMv8.0: SMULL and SADALP.

   A product of bytes is at most 2^14 and fits 16 bits; SADALP adds neighbours into 32 bits. So an output has
   two running sums until it is stored. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET
enum { ROWS = 1, TILES = 2 };

#include "fc_arm.h"

typedef struct {
    int32x4_t pair[8]; /* of outputs 2i and 2i + 1: two sums each */
} tile;

typedef int8x16_t quad; /* 4 copies of 4 inputs */

VECTOR tile tile_start(const ek_fc *fc, int64_t col) {
    tile sums;
    for (int i = 0; i < 8; i++) /* the bias goes to the first of the two */
        sums.pair[i] = vreinterpretq_s32_s64(vreinterpretq_s64_u64(vmovl_u32(vld1_u32((const uint32_t *)fc->bias + col + 2 * i))));
    return sums;
}

VECTOR quad quad_load(const int8_t *in) {
    int32_t word;
    __builtin_memcpy(&word, in, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

VECTOR tile tile_dot(tile sums, const int8_t *w, quad x, int safe) {
    (void)safe; /* every product fits */
    for (int i = 0; i < 4; i++) {
        int8x16_t four = vld1q_s8(w + 16 * i);
        sums.pair[2 * i] = vpadalq_s16(sums.pair[2 * i], vmull_s8(vget_low_s8(four), vget_low_s8(x)));
        sums.pair[2 * i + 1] = vpadalq_s16(sums.pair[2 * i + 1], vmull_high_s8(four, x));
    }
    return sums;
}

VECTOR sums16 quads_load(const int8_t *in, const int32_t *offsets) {
    return gather16(in, offsets);
}

VECTOR tile tile_dot_each(tile sums, const int8_t *w, sums16 x, int safe) {
    (void)safe; /* every product fits */
    for (int i = 0; i < 4; i++) {
        int8x16_t four = vld1q_s8(w + 16 * i), given = vreinterpretq_s8_s32(x.part[i]);
        sums.pair[2 * i] = vpadalq_s16(sums.pair[2 * i], vmull_s8(vget_low_s8(four), vget_low_s8(given)));
        sums.pair[2 * i + 1] = vpadalq_s16(sums.pair[2 * i + 1], vmull_high_s8(four, given));
    }
    return sums;
}

VECTOR void tile_store(const ek_fc *fc, int64_t col, tile sums, int8_t *out) {
    sums16 whole;
    for (int i = 0; i < 4; i++) whole.part[i] = vpaddq_s32(sums.pair[2 * i], sums.pair[2 * i + 1]);
    store16(fc, col, whole, out);
}

#include "fc_walk.h"

void ek_fc__neon(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    walk(op, 0, arena, begin, end);
}

#endif
