/* Pools and means of planes, AVX2. */

#include "ops.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define KERNEL(family) ek_##family##__avx2

#include "pooling_rows.h"
#include "requantise.h"

enum { PIXELS = 8, MOST_ADDED = 256 /* bytes that 16 bits hold the sum of */ };

/* Sums of channels 0 and 2, and of 1 and 3 */
typedef struct sums {
    __m256i even, odd;
} sums;

LOOPS void add_pixels(sums *s, __m256i pixels) {
    s->even = _mm256_add_epi16(s->even, _mm256_and_si256(pixels, _mm256_set1_epi32(0x00FF00FF)));
    s->odd = _mm256_add_epi16(s->odd, _mm256_srli_epi16(pixels, 8));
}

/* The sums of a plane's 4 channels over an image, in a vector */
LOOPS __m128i total(const sums *s) {
    const __m256i low = _mm256_set1_epi32(0xFFFF);
    __m256i a = _mm256_and_si256(s->even, low), c = _mm256_srli_epi32(s->even, 16);
    __m256i b = _mm256_and_si256(s->odd, low), d = _mm256_srli_epi32(s->odd, 16);
    __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

LOOPS __m128i sum_image(const ek_mean_planes *op, const uint8_t *in) {
    const int64_t whole = op->width / PIXELS, rest = op->width % PIXELS, pitch = EK_QUAD * op->input_pitch;
    const __m256i tail = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)rest), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    sums s = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    __m128i all = _mm_setzero_si128();
    int64_t added = 0;
    for (int64_t y = 0; y < op->height; y++, in += pitch)
        for (int64_t x = 0; x < whole + (rest > 0); x++) {
            const __m256i mask = x < whole ? _mm256_set1_epi32(-1) : tail;
            add_pixels(&s, _mm256_maskload_epi32((const int *)(in + EK_QUAD * PIXELS * x), mask));
            if (++added < MOST_ADDED) continue;
            all = _mm_add_epi32(all, total(&s));
            s = (sums){_mm256_setzero_si256(), _mm256_setzero_si256()};
            added = 0;
        }
    return _mm_add_epi32(all, total(&s));
}

TARGET void ek_mean_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mean_planes *op = op_;
    const int64_t image = EK_QUAD * (int64_t)op->period * op->input_pitch;
    for (int64_t q = begin; q < end; q++)
        for (int64_t i = 0; i < op->images; i++) {
            int32_t sum[EK_QUAD];
            const uint8_t *in = arena + op->input + q * op->input_stride + i * image;
            _mm_storeu_si128((__m128i *)sum, sum_image(op, in));
            for (int64_t c = q * EK_QUAD; c < (q + 1) * EK_QUAD && c < op->channels; c++) {
                int32_t y = ek_multiply(sum[c % EK_QUAD] + op->bias, op->multiplier, op->shift) + op->zero_point;
                arena[op->output + i * op->channels + c] = (uint8_t)ek_clamp(y, -128, 127);
            }
        }
}

#endif
