/* What the AVX2 and AVX-VNNI levels share: a tile of 16 sums is two registers. */

#include <immintrin.h>

#define VECTOR static inline __attribute__((always_inline)) TARGET

typedef struct {
    __m256i low, high;
} tile;

VECTOR __m256i load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* 8 input quads, as many bytes behind `in` as the offsets say */
VECTOR __m256i gather(const int8_t *in, const int32_t *offsets) {
    return _mm256_i32gather_epi32((const int *)in, load(offsets), 1);
}

/* 4 sums times their scales, rounded with ties away from zero: as the number just below a half is added,
   cutting the fraction off rounds, and what lies just below a half stays below */
VECTOR __m128i scale_round(__m128i sums, const double *scale) {
    const __m256d half = _mm256_set1_pd(0x1.fffffffffffffp-2), sign = _mm256_set1_pd(-0.0);
    __m256d x = _mm256_mul_pd(_mm256_cvtepi32_pd(sums), _mm256_loadu_pd(scale));
    x = _mm256_add_pd(x, _mm256_or_pd(_mm256_and_pd(x, sign), half));
    return _mm256_cvttpd_epi32(x);
}

VECTOR __m256i requantise(const ek_fc *fc, int64_t col, __m256i sums) {
    __m128i low = scale_round(_mm256_castsi256_si128(sums), fc->scale + col);
    __m128i high = scale_round(_mm256_extracti128_si256(sums, 1), fc->scale + col + 4);
    __m256i x = _mm256_add_epi32(_mm256_set_m128i(high, low), _mm256_set1_epi32(fc->zero_point));
    return _mm256_min_epi32(_mm256_max_epi32(x, _mm256_set1_epi32(fc->low)), _mm256_set1_epi32(fc->high));
}

VECTOR void tile_store(const ek_fc *fc, int64_t col, tile sums, int8_t *out) {
    __m256i low = requantise(fc, col, sums.low), high = requantise(fc, col + 8, sums.high);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}
