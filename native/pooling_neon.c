/* Maxima and averages over windows of planes, every 64-bit ARM. Where windows lie inside the columns of the input, 4
   pixels are done at a time, the last of which may be some that are done already; others one by one. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "margin.h"
#include "requantise_arm.h"

enum { PIXELS = 4, BYTES = EK_QUAD * PIXELS, MAX_COUNT = 255 /* bytes whose sum stays within 16 bits */ };

/* Rows and columns of the input, clipped, from the place of the first */
typedef struct window {
    const int8_t *in;
    int64_t rows, columns, pitch;
    int step; /* from pixel to pixel of the output */
} window;

INLINE int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

INLINE int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

INLINE window window_at(const ek_pool_planes *op, const int8_t *in, int64_t y, int64_t x) {
    const int64_t top = y * op->stride_y - op->top, left = x * op->stride_x - op->left;
    const int64_t first_row = most(top, 0), first_column = most(left, 0);
    return (window){in + EK_QUAD * (first_row * op->input_pitch + first_column),
                    least(top + op->window_height, op->rows) - first_row,
                    least(left + op->window_width, op->columns) - first_column, op->input_pitch, op->stride_x};
}

/* A tap of 4 pixels of the output, or of one in all 4 places */
INLINE int8x16_t load_tap(const int8_t *in, int step, const int one) {
    if (one) {
        int32_t word;
        memcpy(&word, in, sizeof word);
        return vreinterpretq_s8_s32(vdupq_n_s32(word));
    }
    return step == 1 ? vld1q_s8(in) : vreinterpretq_s8_s32(vld2q_s32((const int32_t *)in).val[0]);
}

INLINE int8x16_t maximum(window w, const int one) {
    int8x16_t y = vdupq_n_s8(-128);
    for (int64_t r = 0; r < w.rows; r++)
        LOOP for (int64_t c = 0; c < w.columns; c++)
            y = vmaxq_s8(y, load_tap(w.in + EK_QUAD * (r * w.pitch + c), w.step, one));
    return y;
}

/* Sums over their count, ties away from zero: as floats they are exact but for what truncation takes away. */
INLINE int16x4_t divide(int16x4_t sums, int32_t count) {
    const int32x4_t x = vmovl_s16(sums), half = vdupq_n_s32(count / 2);
    const int32x4_t up = vbslq_s32(vcgtq_s32(x, vdupq_n_s32(0)), half, vnegq_s32(half));
    const float32x4_t quotient = vdivq_f32(vcvtq_f32_s32(vaddq_s32(x, up)), vdupq_n_f32((float)count));
    return vmovn_s32(vcvtq_s32_f32(quotient));
}

INLINE int8x16_t average(window w, const int one) {
    int16x8_t low = vdupq_n_s16(0), high = vdupq_n_s16(0);
    for (int64_t r = 0; r < w.rows; r++)
        LOOP for (int64_t c = 0; c < w.columns; c++) {
            const int8x16_t x = load_tap(w.in + EK_QUAD * (r * w.pitch + c), w.step, one);
            low = vaddw_s8(low, vget_low_s8(x)), high = vaddw_high_s8(high, x);
        }
    const int32_t count = (int32_t)(w.rows * w.columns);
    low = vcombine_s16(divide(vget_low_s16(low), count), divide(vget_high_s16(low), count));
    high = vcombine_s16(divide(vget_low_s16(high), count), divide(vget_high_s16(high), count));
    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}

INLINE int8x16_t pooled(const ek_pool_planes *op, window w, const int one) {
    const int8x16_t y = op->average ? average(w, one) : maximum(w, one);
    return clamped(y, vdupq_n_s8((int8_t)op->low), vdupq_n_s8((int8_t)op->high));
}

APART void pool_pixel(const ek_pool_planes *op, const int8_t *in, int8_t *out, int64_t y, int64_t x) {
    vst1q_lane_s32((int32_t *)(out + EK_QUAD * x), vreinterpretq_s32_s8(pooled(op, window_at(op, in, y, x), 1)), 0);
}

/* Pixels [first, last) of a row, at least 4, that have all columns of their windows */
APART void pool_pixels(const ek_pool_planes *at, const int8_t *in, int8_t *out, int64_t y, int64_t first,
                       int64_t last) {
    const ek_pool_planes op = *at;
    window w = window_at(&op, in, y, first);
    const int8_t *start = w.in;
    LOOP for (int64_t x = first; x < last; x += PIXELS) {
        x = least(x, last - PIXELS);
        w.in = start + EK_QUAD * (x - first) * w.step;
        vst1q_s8(out + EK_QUAD * x, pooled(&op, w, 0));
    }
}

/* Output pixels [first, last) have all columns of their windows. */
APART void pool_row(const ek_pool_planes *op, const int8_t *in, int8_t *out, int64_t y, int64_t first, int64_t last) {
    int64_t x = 0;
    if (op->stride_x <= 2 && last - first >= PIXELS) {
        for (; x < first; x++) pool_pixel(op, in, out, y, x);
        pool_pixels(op, in, out, y, first, last);
        x = last;
    }
    for (; x < op->width; x++) pool_pixel(op, in, out, y, x);
}

APART void pool_image(const ek_pool_planes *op, const int8_t *in, int8_t *out) {
    const int64_t first = least((op->left + op->stride_x - 1) / op->stride_x, op->width);
    const int64_t end = op->columns + op->left - op->window_width; /* where the last whole window starts */
    const int64_t last = end < 0 ? 0 : least(end / op->stride_x + 1, op->width);
    for (int64_t y = 0; y < op->height; y++)
        pool_row(op, in, out + EK_QUAD * y * op->output_pitch, y, most(first, 0), last);
}

void ek_pool_planes__neon(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pool_planes *op = op_;
    if (op->average && (int64_t)op->window_height * op->window_width > MAX_COUNT) {
        ek_pool_planes__scalar(op, arena, begin, end);
        return;
    }
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            pool_image(op,
                       (const int8_t *)arena + op->input + q * op->input_stride +
                           EK_QUAD * i * op->input_period * op->input_pitch,
                       (int8_t *)out + EK_QUAD * i * op->period * op->output_pitch);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

#endif
