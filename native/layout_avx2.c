/* Between plain tensors and planes, AVX2. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))
#define KERNEL(family) ek_##family##__avx2

#include "rows_avx2.h"

/* 8 pixels at a time, read as twice 16 bytes as long as those are in the row */
VECTOR void spread(const uint8_t *in, uint8_t *out, int64_t n, uint32_t flips, uint32_t zero) {
    const vector flip = every((int32_t)(flips & 0xFFFFFFu)), last = every((int32_t)(zero & 0xFF000000u));
    const vector order = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 0, 1, 2, -1, 3, 4, 5, -1, 6,
                                          7, 8, -1, 9, 10, 11, -1);
    int64_t x = 0;
    for (; 3 * x + 28 <= 3 * n; x += PIXELS) {
        const __m128i first = _mm_loadu_si128((const __m128i *)(in + 3 * x));
        const __m128i second = _mm_loadu_si128((const __m128i *)(in + 3 * x + 12));
        vector pixels = _mm256_shuffle_epi8(_mm256_set_m128i(second, first), order);
        store(out + EK_QUAD * x, _mm256_or_si256(_mm256_xor_si256(pixels, flip), last));
    }
    for (; x < n; x++) {
        uint32_t pixel = in[3 * x] | (uint32_t)in[3 * x + 1] << 8 | (uint32_t)in[3 * x + 2] << 16;
        pixel = ((pixel ^ flips) & 0xFFFFFFu) | (zero & 0xFF000000u);
        memcpy(out + EK_QUAD * x, &pixel, sizeof pixel);
    }
}

/* A square of 4 pixels by 4 quads, turned */
VECTOR void unpack_block(const uint8_t *in, int64_t stride, uint8_t *out, int64_t step, int64_t n, uint32_t flips) {
    __m128i quad[4], flip = _mm_set1_epi32((int)flips);
    for (int q = 0; q < 4; q++) quad[q] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(in + q * stride)), flip);
    const __m128i a = _mm_unpacklo_epi32(quad[0], quad[1]), b = _mm_unpackhi_epi32(quad[0], quad[1]);
    const __m128i c = _mm_unpacklo_epi32(quad[2], quad[3]), d = _mm_unpackhi_epi32(quad[2], quad[3]);
    const __m128i pixels[4] = {_mm_unpacklo_epi64(a, c), _mm_unpackhi_epi64(a, c), _mm_unpacklo_epi64(b, d),
                               _mm_unpackhi_epi64(b, d)};
    for (int64_t x = 0; x < n; x++) _mm_storeu_si128((__m128i *)(out + x * step), pixels[x]);
}

#include "layout_rows.h"

#endif
