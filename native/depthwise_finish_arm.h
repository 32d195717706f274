/* Sums of depthwise windows to stored quads, for depthwise_arm.h. A vector of sums is a pixel of 4 channels. */

#include "margin.h"
#include "requantise_arm.h"

enum { PIXELS = 4, BYTES = EK_QUAD * PIXELS };

/* A plane of an image, and what is constant in it */
typedef struct plane {
    ending to;
    int32x4_t bias;
    const int8_t *weights; /* (sets, window_height, window_width, 4) */
    int64_t in_row, out_row, height, width, pitch; /* rows in bytes */
    int window_height, window_width, sets, stride;
    uint32_t margin;
} plane;

INLINE plane plane_of(const ek_depthwise *op, int64_t q) {
    const int64_t taps = (int64_t)op->sets * op->window_height * op->window_width;
    plane p = {.to = ENDING(op, EK_QUAD * q), .bias = vld1q_s32(op->bias + EK_QUAD * q),
               .weights = op->weights + q * taps * EK_QUAD, .in_row = EK_QUAD * (int64_t)op->input_pitch,
               .out_row = EK_QUAD * (int64_t)op->output_pitch, .height = op->height, .width = op->width,
               .pitch = op->output_pitch, .window_height = op->window_height, .window_width = op->window_width,
               .sets = op->sets, .stride = op->stride, .margin = ek_margin_word(op->zero_point)};
    p.to.is_biased = op->biased;
    if (op->biased) p.to.zero = vld1q_f32(op->biased_zero_point + EK_QUAD * q);
    return p;
}

/* The weights of a tap, for 4 pixels */
INLINE int8x16_t tap(const int8_t *weights) {
    int32_t word;
    memcpy(&word, weights, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

/* Every second pixel */
INLINE int8x16_t load_even(const int8_t *in) {
    return vreinterpretq_s8_s32(vld2q_s32((const int32_t *)in).val[0]);
}

INLINE void widen(int32x4_t *sums, int16x8_t low, int16x8_t high) {
    sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
    sums[1] = vaddw_high_s16(sums[1], low);
    sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
    sums[3] = vaddw_high_s16(sums[3], high);
}

/* 4 pixels, of any window */
INLINE void sum_any(const plane *p, const int8_t *in, int32x4_t *sums) {
    const int8_t *weights = p->weights;
    EACH(i, PIXELS) sums[i] = p->bias;
    for (int set = 0; set < p->sets; set++)
        for (int y = 0; y < p->window_height; y++)
            LOOP for (int x = 0; x < p->window_width; x++, weights += EK_QUAD) {
                const int8_t *at = in + y * p->in_row + EK_QUAD * x;
                const int8x16_t v = p->stride == 1 ? vld1q_s8(at) : load_even(at), w = tap(weights);
                widen(sums, vmull_s8(vget_low_s8(v), vget_low_s8(w)), vmull_high_s8(v, w));
            }
}

INLINE void put(const plane *p, int8_t *out, const int32x4_t *sums, const int plain) {
    if (!plain) {
        vst1q_s8(out, quads_of(&p->to, sums));
        return;
    }
    const int8x16_t bytes = bytes_of(sums, p->to.scale, p->to.zero, vdupq_n_f32(0x1.8p23f));
    vst1q_s8(out, p->to.is_clamped ? clamped(bytes, p->to.low, p->to.high) : bytes);
}

/* Where the last vector of a row starts, in pixels */
INLINE int64_t last_vector(const plane *p) {
    return (p->width - 1) / PIXELS * PIXELS;
}

/* The margin behind a row */
INLINE void end_row(const plane *p, int8_t *row) {
    const int8_t *end = row + EK_QUAD * p->pitch;
    for (row += EK_QUAD * p->width; row < end; row += EK_QUAD) {
        memcpy(row, &p->margin, sizeof p->margin);
        __asm__ volatile("" : "+r"(row)); /* few are too few to be done by vectors */
    }
}
