/* Sums, products and tables on planes, every 64-bit ARM. Whole planes are done, margins included, 16 bytes at a time;
   the last vector may reach into what lies behind them. */

#include "ops.h"

#if defined(__aarch64__)

#define TARGET

#include "margin.h"
#include "requantise_arm.h"

typedef struct wide {
    int16x8_t low, high;
} wide;

/* 16 stored bytes less their zero point */
INLINE wide widened(const int8_t *in, int32_t zero) {
    const int8x16_t x = vld1q_s8(in);
    const int16x8_t zeros = vdupq_n_s16((int16_t)zero);
    return (wide){vsubq_s16(vmovl_s8(vget_low_s8(x)), zeros), vsubq_s16(vmovl_high_s8(x), zeros)};
}

INLINE int8x16_t add_fast(const ek_add_planes *op, wide a, wide b) {
    const int32x4_t bias = vdupq_n_s32(op->bias), right = vdupq_n_s32(-op->shift);
    const int16_t x = (int16_t)op->first_weight, y = (int16_t)op->second_weight;
    int32x4_t z[EK_QUAD] = {
        vmlal_n_s16(vmlal_n_s16(bias, vget_low_s16(a.low), x), vget_low_s16(b.low), y),
        vmlal_high_n_s16(vmlal_high_n_s16(bias, a.low, x), b.low, y),
        vmlal_n_s16(vmlal_n_s16(bias, vget_low_s16(a.high), x), vget_low_s16(b.high), y),
        vmlal_high_n_s16(vmlal_high_n_s16(bias, a.high, x), b.high, y),
    };
    EACH(i, EK_QUAD) z[i] = vshlq_s32(z[i], right);
    return saturated(z, vdupq_n_s16(0));
}

INLINE ending factor(int32_t multiplier, int32_t shift) {
    return (ending){.multiplier = vdupq_n_s32(multiplier), .left = vdupq_n_s32(shift > 0 ? shift : 0),
                    .right = vdupq_n_s32(shift < 0 ? shift : 0)};
}

INLINE void scale_wide(int32x4_t *y, const ending *by, wide x) {
    const int16x4_t parts[EK_QUAD] = {vget_low_s16(x.low), vget_high_s16(x.low), vget_low_s16(x.high),
                                      vget_high_s16(x.high)};
    EACH(i, EK_QUAD) y[i] = multiplied(by, vshlq_n_s32(vmovl_s16(parts[i]), 20));
}

INLINE int8x16_t add_exactly(const ek_add_planes *op, wide a, wide b) {
    const ending first = factor(op->first_weight, op->first_shift);
    const ending second = factor(op->second_weight, op->second_shift);
    const ending both = factor(op->multiplier, op->shift);
    int32x4_t x[EK_QUAD], y[EK_QUAD];
    scale_wide(x, &first, a);
    scale_wide(y, &second, b);
    EACH(i, EK_QUAD) x[i] = multiplied(&both, op->subtract ? vsubq_s32(x[i], y[i]) : vaddq_s32(x[i], y[i]));
    return saturated(x, vdupq_n_s16((int16_t)op->zero_point));
}

APART void add_plane(const ek_add_planes *at, const int8_t *first, const int8_t *second, int8_t *out, int64_t bytes) {
    const ek_add_planes op = *at;
    const int8x16_t low = vdupq_n_s8((int8_t)op.low), high = vdupq_n_s8((int8_t)op.high);
    if (op.exact)
        LOOP for (int64_t i = 0; i < bytes; i += 16) {
            const wide a = widened(first + i, op.first_zero), b = widened(second + i, op.second_zero);
            vst1q_s8(out + i, clamped(add_exactly(&op, a, b), low, high));
        }
    else
        LOOP for (int64_t i = 0; i < bytes; i += 16)
            vst1q_s8(out + i, clamped(add_fast(&op, widened(first + i, 0), widened(second + i, 0)), low, high));
}

void ek_add_planes__neon(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_add_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const int8_t *in = (const int8_t *)arena;
        uint8_t *out = arena + op->output + q * op->output_stride;
        add_plane(op, in + op->first + q * op->first_stride, in + op->second + q * op->second_stride, (int8_t *)out,
                  EK_QUAD * margins.pixels);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

INLINE int8x16_t multiply(const ending *to, wide a, wide b) {
    const int32x4_t products[EK_QUAD] = {
        vmull_s16(vget_low_s16(a.low), vget_low_s16(b.low)), vmull_high_s16(a.low, b.low),
        vmull_s16(vget_low_s16(a.high), vget_low_s16(b.high)), vmull_high_s16(a.high, b.high)};
    return quads_of(to, products);
}

/* The rows of an image; with `one`, all by the pixel at `second`. */
APART void multiply_image(const ek_mul_planes *at, const int8_t *first, const int8_t *second, int8_t *out, int one) {
    const ek_mul_planes op = *at;
    ending to = factor(op.exact ? op.multiplier : 0, op.exact ? op.shift : 0);
    to.scale = vdupq_n_f32(op.scale), to.zero = vdupq_n_f32((float)op.zero_point), to.is_exact = op.exact;
    to.zero_point = vdupq_n_s16((int16_t)op.zero_point);
    to.low = vdupq_n_s8((int8_t)op.low), to.high = vdupq_n_s8((int8_t)op.high);
    int8_t quads[16];
    for (int i = 0; one && i < 16; i++) quads[i] = second[i % EK_QUAD];
    const int64_t bytes = EK_QUAD * (int64_t)op.height * op.output_pitch;
    LOOP for (int64_t i = 0; i < bytes; i += 16) {
        const wide a = widened(first + i, op.first_zero), b = widened(one ? quads : second + i, op.second_zero);
        vst1q_s8(out + i, multiply(&to, a, b));
    }
}

void ek_mul_planes__neon(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mul_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t image = EK_QUAD * (int64_t)op->period * op->output_pitch;
    const int64_t step = op->second_step ? EK_QUAD * (int64_t)op->second_step : image;
    for (int64_t q = begin; q < end; q++) {
        const int8_t *first = (const int8_t *)arena + op->first + q * op->first_stride;
        const int8_t *second = (const int8_t *)arena + op->second + q * op->second_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            multiply_image(op, first + i * image, second + i * step, (int8_t *)out + i * image, op->second_step > 0);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

/* 256 entries in 16 registers */
APART void look_up(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t bytes) {
    const uint8x16x4_t a = vld1q_u8_x4(table), b = vld1q_u8_x4(table + 64), c = vld1q_u8_x4(table + 128);
    const uint8x16x4_t d = vld1q_u8_x4(table + 192);
    const uint8x16_t quarter = vdupq_n_u8(64);
    LOOP for (int64_t i = 0; i < bytes; i += 16) {
        uint8x16_t index = vld1q_u8(in + i), y = vqtbl4q_u8(a, index);
        index = vsubq_u8(index, quarter);
        y = vqtbx4q_u8(y, b, index);
        index = vsubq_u8(index, quarter);
        y = vqtbx4q_u8(y, c, index);
        vst1q_u8(out + i, vqtbx4q_u8(y, d, vsubq_u8(index, quarter)));
    }
}

void ek_lut_planes__neon(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_lut_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        if (op->table_size)
            look_up(op->table, in, out, EK_QUAD * margins.pixels);
        else
            memcpy(out, in, (size_t)(EK_QUAD * margins.pixels));
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

#endif
