/* Between plain tensors and planes, AVX2. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))
#define KERNEL(family) ek_##family##__avx2

#include "rows_avx2.h"

/* 4 pixels at a time, read as 16 bytes as long as those are in the row */
VECTOR void spread(const uint8_t *in, uint8_t *out, int64_t n, uint32_t flips, uint32_t zero) {
    const __m128i order = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    const __m128i flip = _mm_set1_epi32((int)(flips & 0xFFFFFFu)), last = _mm_set1_epi32((int)(zero & 0xFF000000u));
    int64_t x = 0;
    for (; 3 * x + 16 <= 3 * n; x += 4) {
        __m128i pixels = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(in + 3 * x)), order);
        _mm_storeu_si128((__m128i *)(out + 4 * x), _mm_or_si128(_mm_xor_si128(pixels, flip), last));
    }
    for (; x < n; x++) {
        uint32_t pixel = in[3 * x] | (uint32_t)in[3 * x + 1] << 8 | (uint32_t)in[3 * x + 2] << 16;
        pixel = ((pixel ^ flips) & 0xFFFFFFu) | (zero & 0xFF000000u);
        memcpy(out + 4 * x, &pixel, sizeof pixel);
    }
}

#include "layout_rows.h"

#endif
