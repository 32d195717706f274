/* From sums to stored bytes, for both ARM levels: see EK_REQUANTISE in ops_conv.h. Says TARGET before it is included. */

#include <arm_neon.h>

#include "ops.h"

#define INLINE static inline __attribute__((always_inline)) TARGET
#define APART static __attribute__((noinline)) TARGET
#define EACH(i, n) _Pragma("GCC unroll 32") for (int i = 0; i < (n); i++)
#define LOOP _Pragma("GCC unroll 1")

/* p, computed before it is used: places near it become constants in loads. */
INLINE const int8_t *settled(const int8_t *p) {
    __asm__("" : "+r"(p));
    return p;
}

/* A vector that is made where it is used, and not kept in a register through loops before. */
INLINE int32x4_t fresh(int32_t value) {
    __asm__ volatile("" : "+r"(value));
    return vdupq_n_s32(value);
}

/* Two neighbouring vectors. That both are wanted at once makes one LDP of it; that nothing is read before or after
   keeps the compiler from reading ahead until it runs out of registers. */
INLINE void load_pair(int8x16_t *x, const int8_t *in) {
    int8x16_t a = vld1q_s8(in), b = vld1q_s8(in + 16);
    __asm__ volatile("" : "+w"(a), "+w"(b) : : "memory");
    x[0] = a, x[1] = b;
}

INLINE void load_some(int8x16_t *x, const int n, const int8_t *in) {
    if (n > 1)
        load_pair(x, in);
    else
        x[0] = vld1q_s8(in);
}

/* What becomes of vectors whose lanes are 4 channels */
typedef struct ending {
    float32x4_t scale, zero;
    int32x4_t multiplier, left, right;
    int16x8_t zero_point;
    int8x16_t low, high;
    int is_exact, is_clamped;
    int is_biased; /* sums are the bits of floats: see EK_CONV */
} ending;

#define ENDING(op, c)                                                                                             \
    (ending) {                                                                                                    \
        vld1q_f32((op)->scale + (c)), vdupq_n_f32((float)(op)->zero_point), load_if((op)->exact, (op)->multiplier, c), \
            vmaxq_s32(load_if((op)->exact, (op)->shift, c), vdupq_n_s32(0)),                                      \
            vminq_s32(load_if((op)->exact, (op)->shift, c), vdupq_n_s32(0)),                                      \
            vdupq_n_s16((int16_t)(op)->zero_point), vdupq_n_s8((int8_t)(op)->low), vdupq_n_s8((int8_t)(op)->high), \
            (op)->exact, (op)->low > -128 || (op)->high < 127, 0                                                  \
    }

INLINE int32x4_t load_if(int wanted, const int32_t *array, int64_t c) {
    return wanted ? vld1q_s32(array + c) : vdupq_n_s32(0);
}

INLINE float32x4_t scaled(float32x4_t sums, float32x4_t scale, float32x4_t zero) {
    return vfmaq_f32(zero, sums, scale);
}

/* Rounds to nearest even: the low 16 bits of a float beyond 1.5 * 2^23, which is `digits`, are its last digits. */
INLINE int16x8_t low_halves(float32x4_t a, float32x4_t b, float32x4_t digits) {
    return vuzp1q_s16(vreinterpretq_s16_f32(vaddq_f32(a, digits)), vreinterpretq_s16_f32(vaddq_f32(b, digits)));
}

/* Biased sums whose values fit 16 bits */
INLINE int8x16_t bytes_of(const int32x4_t *sums, float32x4_t scale, float32x4_t zero, float32x4_t digits) {
    float32x4_t y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = scaled(vreinterpretq_f32_s32(sums[i]), scale, zero);
    return vqmovn_high_s16(vqmovn_s16(low_halves(y[0], y[1], digits)), low_halves(y[2], y[3], digits));
}

INLINE int8x16_t saturated(const int32x4_t *y, int16x8_t more) {
    int16x8_t a = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(y[0]), y[1]), more);
    int16x8_t b = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(y[2]), y[3]), more);
    return vqmovn_high_s16(vqmovn_s16(a), b);
}

/* ek_multiply(): the doubling product rounds halves up in both. Shifts do, too; halves of negative numbers are to be
   rounded down, so one is taken off those first. */
INLINE int32x4_t multiplied(const ending *to, int32x4_t sums) {
    int32x4_t x = vqrdmulhq_s32(vshlq_s32(sums, to->left), to->multiplier);
    return vrshlq_s32(vsraq_n_s32(x, vandq_s32(x, to->right), 31), to->right);
}

INLINE int8x16_t clamped(int8x16_t bytes, int8x16_t low, int8x16_t high) {
    return vminq_s8(vmaxq_s8(bytes, low), high);
}

/* 4 pixels of 4 channels, in any way */
INLINE int8x16_t quads_of(const ending *to, const int32x4_t *sums) {
    int32x4_t y[EK_QUAD];
    EACH(i, EK_QUAD) {
        float32x4_t sum = to->is_biased ? vreinterpretq_f32_s32(sums[i]) : vcvtq_f32_s32(sums[i]);
        y[i] = to->is_exact ? multiplied(to, sums[i]) : vcvtnq_s32_f32(scaled(sum, to->scale, to->zero));
    }
    return clamped(saturated(y, to->is_exact ? to->zero_point : vdupq_n_s16(0)), to->low, to->high);
}
