/* What the two ARM levels share: a tile of 16 sums is four registers when it is stored. */

#include <arm_neon.h>

#define VECTOR static inline __attribute__((always_inline)) TARGET

typedef struct {
    int32x4_t part[4];
} sums16;

VECTOR sums16 load16(const int32_t *p) {
    return (sums16){{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}

/* 16 input quads, as many bytes behind `in` as the offsets say */
VECTOR sums16 gather16(const int8_t *in, const int32_t *offsets) {
    int32_t words[16];
    for (int i = 0; i < 16; i++) __builtin_memcpy(words + i, in + offsets[i], sizeof words[i]);
    return load16(words);
}

/* 2 sums times their scales, rounded with ties away from zero */
VECTOR int32x2_t scale_round(int32x2_t sums, const double *scale) {
    return vmovn_s64(vcvtaq_s64_f64(vmulq_f64(vcvtq_f64_s64(vmovl_s32(sums)), vld1q_f64(scale))));
}

VECTOR int32x4_t requantise(const ek_fc *fc, int64_t col, int32x4_t sums) {
    int32x4_t x = vcombine_s32(scale_round(vget_low_s32(sums), fc->scale + col),
                               scale_round(vget_high_s32(sums), fc->scale + col + 2));
    x = vaddq_s32(x, vdupq_n_s32(fc->zero_point));
    return vminq_s32(vmaxq_s32(x, vdupq_n_s32(fc->low)), vdupq_n_s32(fc->high));
}

VECTOR void store16(const ek_fc *fc, int64_t col, sums16 x, int8_t *out) {
    int16x8_t low = vcombine_s16(vmovn_s32(requantise(fc, col, x.part[0])),
                                 vmovn_s32(requantise(fc, col + 4, x.part[1])));
    int16x8_t high = vcombine_s16(vmovn_s32(requantise(fc, col + 8, x.part[2])),
                                  vmovn_s32(requantise(fc, col + 12, x.part[3])));
    vst1q_s8(out, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
