/* From sums to stored quads, for conv_arm.h. */

#include "conv.h"
#include "margin.h"
#include "requantise_arm.h"

enum {
    PIXELS = 4, /* in a vector */
    BYTES = EK_QUAD * PIXELS,
    MOST = 16 /* vectors in a tile */
};

/* A tile of pixels, in all planes */
typedef struct spot {
    const ek_conv *conv;
    const int8_t *in, *other;
    int8_t *out;
    int vectors, margin_count;
    int32_t margins[MOST * PIXELS]; /* bytes from `out` to its pixels */
    uint32_t margin;
} spot;

/* What a walk through the channels reads: a copy, for stores of bytes could change anything else. */
typedef struct stroll {
    const spot *at;
    const int8_t *in;
    int8_t *out;
    int64_t stride;
    const int32_t *starts, *entries, *runs /* or NULL */, *bias;
    const float *scale, *zero_point; /* biased */
    int32_t low, high; /* 4 times the byte */
    int group, group_bits, is_plain, is_clamped, margin_count;
    uint32_t margin;
} stroll;

INLINE stroll stroll_of(const spot *at) {
    const ek_conv *conv = at->conv;
    return (stroll){.at = at, .in = at->in, .out = at->out, .stride = conv->output_stride, .starts = conv->starts,
                    .entries = conv->entries, .runs = conv->runs_size ? conv->runs : NULL, .bias = conv->bias,
                    .scale = conv->scale, .zero_point = conv->biased_zero_point,
                    .low = (int32_t)ek_margin_word(conv->low), .high = (int32_t)ek_margin_word(conv->high),
                    .group = conv->group, .group_bits = conv->group == 2 * EK_QUAD ? 3 : 2,
                    .is_plain = conv->biased && conv->fits16 && !conv->has_residual,
                    .is_clamped = conv->low > -128 || conv->high < 127, .margin_count = at->margin_count,
                    .margin = at->margin};
}

/* The entries of channel c's group: `size` numbers from one to the next, `word` to the word of c */
typedef struct list {
    const int32_t *entry, *fours_end, *end;
    int64_t size, word;
    int is_odd; /* how many they are */
} list;

/* `rows` is 1 for lists of single channels, otherwise 4, which is half of a group of 8. */
INLINE list list_of(const stroll *s, const int rows, int64_t c) {
    const int64_t group = rows == 1 ? 1 : s->group, size = 1 + group, number = rows == 1 ? c : c >> s->group_bits;
    const int64_t begin = s->starts[number], end = s->starts[number + 1];
    return (list){s->entries + begin * size, s->entries + (s->runs ? s->runs[2 * number] : begin) * size,
                  s->entries + end * size, size, 1 + (c & (group - 1)), (end - begin) & 1};
}

INLINE void restore_margins(const stroll *s, int8_t *plane) {
    LOOP for (int i = 0; i < s->margin_count; i++) memcpy(plane + s->at->margins[i], &s->margin, sizeof s->margin);
}

INLINE int8x16_t add_residual(const ek_conv *conv, int8x16_t own, int8x16_t other) {
    const int16_t a = (int16_t)conv->residual_own, b = (int16_t)conv->residual_other;
    const int16x8_t x[2] = {vmovl_s8(vget_low_s8(own)), vmovl_high_s8(own)};
    const int16x8_t y[2] = {vmovl_s8(vget_low_s8(other)), vmovl_high_s8(other)};
    const int32x4_t bias = vdupq_n_s32(conv->residual_bias), right = vdupq_n_s32(-conv->residual_shift);
    int32x4_t z[EK_QUAD];
    EACH(i, 2) {
        z[2 * i] = vmlal_n_s16(vmlal_n_s16(bias, vget_low_s16(x[i]), a), vget_low_s16(y[i]), b);
        z[2 * i + 1] = vmlal_high_n_s16(vmlal_high_n_s16(bias, x[i], a), y[i], b);
    }
    EACH(i, EK_QUAD) z[i] = vshlq_s32(z[i], right);
    return clamped(saturated(z, vdupq_n_s16(0)), vdupq_n_s8((int8_t)conv->residual_low),
                   vdupq_n_s8((int8_t)conv->residual_high));
}

INLINE float32x4_t fresh_digits(void) {
    return vreinterpretq_f32_s32(fresh(EK_BIASED));
}

INLINE void clamp_all(const stroll *s, int8x16_t *bytes, const int n) {
    const int8x16_t low = vreinterpretq_s8_s32(fresh(s->low)), high = vreinterpretq_s8_s32(fresh(s->high));
    EACH(v, n) bytes[v] = clamped(bytes[v], low, high);
}

/* Channels c..c+3 in any way. `sums` has 4 vectors for each vector of pixels: a pixel each, or, with `by_channel`, a
   channel each. */
APART void finish_any(const spot *at, int64_t c, const int32_t *sums, int by_channel) {
    const ek_conv conv = *at->conv;
    ending to = ENDING(&conv, c);
    to.is_biased = conv.biased;
    if (conv.biased) to.zero = vld1q_f32(conv.biased_zero_point + c);
    const int8_t *other = at->other + c / EK_QUAD * conv.residual_stride;
    int8_t *out = at->out + c / EK_QUAD * conv.output_stride;
    const int vectors = at->vectors;
    LOOP for (int v = 0; v < vectors; v++, sums += BYTES) {
        int32x4x4_t s = by_channel ? vld4q_s32(sums) : vld1q_s32_x4(sums);
        int8x16_t y = quads_of(&to, s.val);
        vst1q_s8(out + BYTES * v, conv.has_residual ? add_residual(&conv, y, vld1q_s8(other + BYTES * v)) : y);
    }
}

/* Quad q, with a vector of channels for each pixel, in registers */
INLINE void finish_pixels(const stroll *s, int64_t q, const int n, const int32x4_t *sums) {
    int8_t *out = s->out + q * s->stride;
    if (s->is_plain) {
        const float32x4_t scale = vld1q_f32(s->scale + EK_QUAD * q), zero = vld1q_f32(s->zero_point + EK_QUAD * q);
        const float32x4_t digits = fresh_digits();
        int8x16_t bytes[MOST];
        EACH(v, n) bytes[v] = bytes_of(sums + v * EK_QUAD, scale, zero, digits);
        if (s->is_clamped) clamp_all(s, bytes, n);
        EACH(v, n) vst1q_s8(out + v * BYTES, bytes[v]);
    } else {
        int32_t copy[MOST * BYTES];
        EACH(i, n * EK_QUAD) vst1q_s32(copy + 4 * i, sums[i]);
        finish_any(s->at, EK_QUAD * q, copy, 0);
    }
    restore_margins(s, out);
}

/* The bytes of n vectors of pixels of a channel, 16 in a register */
INLINE void to_bytes(int8x16_t *bytes, const int32x4_t *sums, const int n, float scale, float zero_point) {
    const float32x4_t factor = vdupq_n_f32(scale), zero = vdupq_n_f32(zero_point), digits = fresh_digits();
    EACH(i, (n + 3) / 4) {
        const int32x4_t *four = sums + 4 * i;
        if (n - 4 * i > 3) {
            bytes[i] = bytes_of(four, factor, zero, digits);
            continue;
        }
        const int left = n - 4 * i;
        float32x4_t y[4];
        EACH(k, 4) y[k] = scaled(vreinterpretq_f32_s32(four[k < left ? k : 0]), factor, zero);
        const int8x8_t low = vqmovn_s16(low_halves(y[0], y[1], digits));
        bytes[i] = left < 3 ? vcombine_s8(low, low) : vqmovn_high_s16(low, low_halves(y[2], y[2], digits));
    }
}

/* Stores pixels of 4 channels as quads, n vectors. */
INLINE void store_quads(int8_t *out, const int n, int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d) {
    if (n == 4) {
        vst4q_s8(out, ((int8x16x4_t){{a, b, c, d}}));
        return;
    }
    if (n >= 2) vst4_s8(out, ((int8x8x4_t){{vget_low_s8(a), vget_low_s8(b), vget_low_s8(c), vget_low_s8(d)}}));
    if (n == 2) return;
    const int16x8_t ab = vreinterpretq_s16_s8(n == 1 ? vzip1q_s8(a, b) : vzip2q_s8(a, b));
    const int16x8_t cd = vreinterpretq_s16_s8(n == 1 ? vzip1q_s8(c, d) : vzip2q_s8(c, d));
    vst1q_s8(out + (n - 1) * BYTES, vreinterpretq_s8_s16(vzip1q_s16(ab, cd)));
}

/* Bytes of 4 channels to quad q */
INLINE void store_rows(const stroll *s, int64_t q, const int n, int8x16_t (*bytes)[MOST / 4]) {
    int8_t *out = s->out + q * s->stride;
    if (s->is_clamped) EACH(i, EK_QUAD) clamp_all(s, bytes[i], (n + 3) / 4);
    EACH(k, (n + 3) / 4)
    store_quads(out + k * 4 * BYTES, n - 4 * k < 4 ? n - 4 * k : 4, bytes[0][k], bytes[1][k], bytes[2][k], bytes[3][k]);
    restore_margins(s, out);
}

/* sums[channel][vector] of quad q, in registers */
INLINE void finish_rows(const stroll *s, int64_t q, const int n, const int32x4_t *sums) {
    if (s->is_plain) {
        int8x16_t bytes[EK_QUAD][MOST / 4];
        const float32x4_t scale = vld1q_f32(s->scale + EK_QUAD * q), zero = vld1q_f32(s->zero_point + EK_QUAD * q);
        EACH(i, EK_QUAD) to_bytes(bytes[i], sums + i * n, n, scale[i], zero[i]);
        store_rows(s, q, n, bytes);
    } else {
        int32_t all[MOST * BYTES];
        EACH(i, EK_QUAD) EACH(v, n) vst1q_s32(all + v * BYTES + i * PIXELS, sums[i * n + v]);
        finish_any(s->at, EK_QUAD * q, all, 1);
        restore_margins(s, s->out + q * s->stride);
    }
}
