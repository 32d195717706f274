/* Planes of quads to planes of one channel, AVX2: 32 pixels at once. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))

#include "vector_ymm.h"

/* 32 bytes of each of 4 channels */
VECTOR void spread(const uint8_t *in, uint8_t *out, int64_t stride) {
    const vector order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    vector v[EK_QUAD];
    for (int i = 0; i < EK_QUAD; i++) /* 4 channels of 8 pixels, which are 2 words a channel */
        v[i] = _mm256_permutevar8x32_epi32(transpose(load(in + 32 * i)), order);
    const vector a = _mm256_unpacklo_epi64(v[0], v[1]), b = _mm256_unpackhi_epi64(v[0], v[1]);
    const vector c = _mm256_unpacklo_epi64(v[2], v[3]), d = _mm256_unpackhi_epi64(v[2], v[3]);
    store(out, _mm256_permute2x128_si256(a, c, 0x20));
    store(out + stride, _mm256_permute2x128_si256(b, d, 0x20));
    store(out + 2 * stride, _mm256_permute2x128_si256(a, c, 0x31));
    store(out + 3 * stride, _mm256_permute2x128_si256(b, d, 0x31));
}

/* The last pixels of a plane, fewer than 32 */
VECTOR void spread_rest(const uint8_t *in, uint8_t *out, int64_t stride, int64_t pixels) {
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < EK_QUAD; c++) out[c * stride + p] = in[EK_QUAD * p + c];
}

TARGET void ek_spread_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_spread_planes *op = op_;
    for (int64_t plane = begin; plane < end; plane++) {
        const uint8_t *in = arena + op->input + plane * op->input_stride;
        uint8_t *out = arena + op->output + EK_QUAD * plane * op->output_stride;
        int64_t p = 0;
        for (; p + 32 <= op->pixels; p += 32) spread(in + EK_QUAD * p, out + p, op->output_stride);
        spread_rest(in + EK_QUAD * p, out + p, op->output_stride, op->pixels - p);
    }
}

#endif
