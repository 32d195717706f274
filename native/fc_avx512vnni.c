/* Fully connected layers, int8, AVX512-VNNI: a tile of 16 sums is one register, vpdpbusd eats a quad. */

#include "ops.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define VECTOR static inline __attribute__((always_inline)) TARGET
enum { ROWS = 4, TILES = 4 };

typedef __m512i tile;
typedef __m512i quad; /* 16 copies of 4 inputs, plus 128: vpdpbusd takes them unsigned */

VECTOR tile tile_start(const ek_fc *fc, int64_t col) {
    return _mm512_loadu_si512(fc->bias_u8 + col);
}

VECTOR quad quad_load(const int8_t *in) {
    int32_t word;
    __builtin_memcpy(&word, in, sizeof word);
    return _mm512_xor_si512(_mm512_set1_epi32(word), _mm512_set1_epi8(-128));
}

VECTOR tile tile_dot(tile sums, const int8_t *w, quad x, int safe) {
    (void)safe; /* every product fits */
    return _mm512_dpbusd_epi32(sums, x, _mm512_loadu_si512(w));
}

VECTOR quad quads_load(const int8_t *in, const int32_t *offsets) {
    __m512i words = _mm512_i32gather_epi32(_mm512_loadu_si512(offsets), in, 1);
    return _mm512_xor_si512(words, _mm512_set1_epi8(-128));
}

VECTOR tile tile_dot_each(tile sums, const int8_t *w, quad x, int safe) {
    return tile_dot(sums, w, x, safe);
}

/* 8 sums times their scales, rounded with ties away from zero: as the number just below a half is added,
   cutting the fraction off rounds, and what lies just below a half stays below */
VECTOR __m256i scale_round(__m256i sums, const double *scale) {
    const __m512d half = _mm512_set1_pd(0x1.fffffffffffffp-2), sign = _mm512_set1_pd(-0.0);
    __m512d x = _mm512_mul_pd(_mm512_cvtepi32_pd(sums), _mm512_loadu_pd(scale));
    x = _mm512_add_pd(x, _mm512_or_pd(_mm512_and_pd(x, sign), half));
    return _mm512_cvttpd_epi32(x);
}

VECTOR void tile_store(const ek_fc *fc, int64_t col, tile sums, int8_t *out) {
    __m256i low = scale_round(_mm512_castsi512_si256(sums), fc->scale + col);
    __m256i high = scale_round(_mm512_extracti64x4_epi64(sums, 1), fc->scale + col + 8);
    __m512i x = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    x = _mm512_add_epi32(x, _mm512_set1_epi32(fc->zero_point));
    x = _mm512_min_epi32(_mm512_max_epi32(x, _mm512_set1_epi32(fc->low)), _mm512_set1_epi32(fc->high));
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(x));
}

#include "fc_walk.h"

TARGET void ek_fc__avx512vnni(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    walk(op, 0, arena, begin, end);
}

#endif
