/* Fully connected layers, int8, ARMv8.2 with SDOT (Cortex-A76 and later; not the A53 and A72). */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
enum { ROWS = 2, TILES = 2 };

#include "fc_arm.h"

typedef sums16 tile;
typedef int8x16_t quad; /* 4 copies of 4 inputs */

VECTOR tile tile_start(const ek_fc *fc, int64_t col) {
    return load16(fc->bias + col);
}

VECTOR quad quad_load(const int8_t *in) {
    int32_t word;
    __builtin_memcpy(&word, in, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

VECTOR tile tile_dot(tile sums, const int8_t *w, quad x, int safe) {
    (void)safe; /* every product fits */
    for (int i = 0; i < 4; i++) sums.part[i] = vdotq_s32(sums.part[i], vld1q_s8(w + 16 * i), x);
    return sums;
}

VECTOR sums16 quads_load(const int8_t *in, const int32_t *offsets) {
    return gather16(in, offsets);
}

VECTOR tile tile_dot_each(tile sums, const int8_t *w, sums16 x, int safe) {
    (void)safe; /* every product fits */
    for (int i = 0; i < 4; i++)
        sums.part[i] = vdotq_s32(sums.part[i], vld1q_s8(w + 16 * i), vreinterpretq_s8_s32(x.part[i]));
    return sums;
}

VECTOR void tile_store(const ek_fc *fc, int64_t col, tile sums, int8_t *out) {
    store16(fc, col, sums, out);
}

#include "fc_walk.h"

TARGET void ek_fc__neondot(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    walk(op, 0, arena, begin, end);
}

#endif
