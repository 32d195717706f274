/* Convolutions on planes, ARMv8.2 with SDOT (Cortex-A76 and later): a lane takes 4 products at once. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

#include "conv_finish_arm.h"

INLINE void add_entry(int32x4_t *sums, const int n, const int8_t *in, int8x8_t word) {
    EACH(i, (n + 1) / 2) {
        int8x16_t x[2];
        load_some(x, n - 2 * i, in + 2 * i * BYTES);
        EACH(k, 2) if (2 * i + k < n) sums[2 * i + k] = vdotq_lane_s32(sums[2 * i + k], x[k], word, 0);
    }
}

INLINE void add_list(int32x4_t *sums, const int n, const stroll *s, int64_t c) {
    EACH(v, n) sums[v] = vdupq_n_s32(s->bias[c]);
    LOOP for (list l = list_of(s, 1, c); l.entry != l.end; l.entry += l.size) {
        const int8x8_t word = vreinterpret_s8_s32(vld1_lane_s32(l.entry + l.word, vdup_n_s32(0), 0));
        add_entry(sums, n, settled(s->in + l.entry[0]), word);
    }
}

/* 4 pixels of 4 channels: sums[pixel], lanes are channels, the pixels are lanes of x. */
INLINE void add_square(int32x4_t *sums, int8x16_t words, int8x16_t x) {
    sums[0] = vdotq_laneq_s32(sums[0], words, x, 0);
    sums[1] = vdotq_laneq_s32(sums[1], words, x, 1);
    sums[2] = vdotq_laneq_s32(sums[2], words, x, 2);
    sums[3] = vdotq_laneq_s32(sums[3], words, x, 3);
}

/* A list that channels share, 4 of them, all pixels of n vectors */
INLINE void fours(const stroll *s, int64_t q, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    EACH(p, n * PIXELS) sums[p] = vld1q_s32(s->bias + EK_QUAD * q);
    _Pragma("GCC unroll 2") for (list l = list_of(s, EK_QUAD, EK_QUAD * q); l.entry != l.end; l.entry += l.size) {
        const int8_t *in = settled(s->in + l.entry[0]);
        const int8x16_t words = vld1q_s8((const int8_t *)(l.entry + l.word));
        EACH(i, (n + 1) / 2) {
            int8x16_t x[2];
            load_some(x, n - 2 * i, in + 2 * i * BYTES);
            EACH(k, 2) if (2 * i + k < n) add_square(sums + (2 * i + k) * PIXELS, words, x[k]);
        }
    }
    finish_pixels(s, q, n, sums);
}

#define SINGLES(TILE)                                                                                           \
    TILE(singles, 1) TILE(singles, 2) TILE(singles, 3) TILE(singles, 4) TILE(singles, 5) TILE(singles, 6)       \
    TILE(singles, 7) TILE(singles, 8) TILE(singles, 9) TILE(singles, 10) TILE(singles, 11) TILE(singles, 12)    \
    TILE(singles, 13) TILE(singles, 14)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2) TILE(fours, 3) TILE(fours, 4) TILE(fours, 5) TILE(fours, 6)
#include "conv_arm.h"

CONV(neondot)

#endif
