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

INLINE void add_list(int32x4_t *sums, const int n, const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    const int8_t *in = at->in;
    const int32_t *offsets = conv->offsets, *words = conv->words;
    EACH(v, n) sums[v] = vdupq_n_s32(conv->bias[c]);
    const int64_t end = conv->starts[c + 1];
    LOOP for (int64_t e = conv->starts[c]; e < end; e++) {
        const int8x8_t word = vreinterpret_s8_s32(vld1_lane_s32(words + e, vdup_n_s32(0), 0));
        add_entry(sums, n, settled(in + offsets[e]), word);
    }
}

/* sums[quad][pixel]: lanes are channels, the pixels are lanes of x. */
INLINE void add_shared(int32x4_t *sums, const int quads, const int n, const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    const int64_t group = c / (EK_QUAD * quads);
    EACH(q, quads) EACH(p, n * PIXELS) sums[q * n * PIXELS + p] = vld1q_s32(conv->bias + c + EK_QUAD * q);
    const int32_t *words = conv->words + conv->starts[group] * EK_QUAD * quads;
    LOOP for (int64_t e = conv->starts[group]; e < conv->starts[group + 1]; e++, words += EK_QUAD * quads) {
        const int8_t *in = at->in + conv->offsets[e];
        int8x16_t w[2];
        EACH(q, quads) w[q] = vreinterpretq_s8_s32(vld1q_s32(words + EK_QUAD * q));
        EACH(v, n) {
            const int8x16_t x = vld1q_s8(in + v * BYTES);
            EACH(q, quads) {
                int32x4_t *s = sums + (q * n + v) * PIXELS;
                s[0] = vdotq_laneq_s32(s[0], w[q], x, 0);
                s[1] = vdotq_laneq_s32(s[1], w[q], x, 1);
                s[2] = vdotq_laneq_s32(s[2], w[q], x, 2);
                s[3] = vdotq_laneq_s32(s[3], w[q], x, 3);
            }
        }
    }
}

INLINE void fours(const spot *at, int64_t c, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    add_shared(sums, 1, n, at, c);
    finish_pixels(at, c, n, sums);
}

INLINE void eights(const spot *at, int64_t c, const int n) {
    int32x4_t sums[EK_QUAD * MOST];
    add_shared(sums, 2, n, at, c);
    finish_pixels(at, c, n, sums);
    finish_pixels(at, c + EK_QUAD, n, sums + n * PIXELS);
}

#define SINGLES(TILE)                                                                                           \
    TILE(singles, 1) TILE(singles, 2) TILE(singles, 3) TILE(singles, 4) TILE(singles, 5) TILE(singles, 6)       \
    TILE(singles, 7) TILE(singles, 8) TILE(singles, 9) TILE(singles, 10) TILE(singles, 11) TILE(singles, 12)    \
    TILE(singles, 13) TILE(singles, 14)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2) TILE(fours, 3) TILE(fours, 4) TILE(fours, 5) TILE(fours, 6)
#define EIGHTS(TILE) TILE(eights, 1) TILE(eights, 2) TILE(eights, 3)

#include "conv_arm.h"

CONV(neondot)

#endif
