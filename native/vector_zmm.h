/* Planes in vectors of 16 pixels, for AVX512: what vector_ymm.h says in vectors of 8. */

#include <immintrin.h>

#define VECTOR static inline __attribute__((always_inline)) TARGET

typedef __m512i vector;
typedef __m512 reals;
enum { PIXELS = 16 };

VECTOR vector load(const void *p) {
    return _mm512_loadu_si512(p);
}

VECTOR void store(void *p, vector v) {
    _mm512_storeu_si512(p, v);
}

VECTOR void store_first(void *p, vector v, int64_t pixels) {
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << pixels) - 1), v);
}

VECTOR vector every(int32_t value) {
    return _mm512_set1_epi32(value);
}

VECTOR vector every_byte(int32_t value) {
    return _mm512_set1_epi8((char)value);
}

VECTOR reals every_real(float value) {
    return _mm512_set1_ps(value);
}

VECTOR reals reals_of(vector integers) {
    return _mm512_cvtepi32_ps(integers);
}

VECTOR reals reals_of_bits(vector bits) {
    return _mm512_castsi512_ps(bits);
}

VECTOR vector scaled(reals sums, reals scale, reals zero_point) {
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(sums, scale, zero_point));
}

VECTOR vector multiplied(vector sums, int32_t multiplier, int32_t shift) {
    const vector factor = every(multiplier), half = _mm512_set1_epi64(INT64_C(1) << 30);
    const int32_t right = shift < 0 ? -shift : 0, mask = (int32_t)((INT64_C(1) << right) - 1);
    vector x = _mm512_sllv_epi32(sums, every(shift > 0 ? shift : 0));
    vector even = _mm512_add_epi64(_mm512_mul_epi32(x, factor), half);
    vector odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), factor), half);
    x = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    vector limit = _mm512_sub_epi32(every(mask >> 1), _mm512_srai_epi32(x, 31));
    __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(x, every(mask)), limit);
    x = _mm512_srav_epi32(x, every(right));
    return _mm512_mask_sub_epi32(x, up, x, every(-1));
}

VECTOR vector plus(vector x, vector y) {
    return _mm512_add_epi32(x, y);
}

VECTOR vector narrow(vector a, vector b, vector c, vector d) {
    return _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
}

VECTOR vector clamp(vector bytes, vector low, vector high) {
    return _mm512_min_epu8(_mm512_max_epu8(bytes, low), high);
}

VECTOR vector transpose(vector bytes) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(order));
}

VECTOR vector interleave_low(vector a, vector b) {
    return _mm512_unpacklo_epi8(a, b);
}

VECTOR vector interleave_high(vector a, vector b) {
    return _mm512_unpackhi_epi8(a, b);
}

VECTOR vector products(vector pairs, vector weights) {
    return _mm512_madd_epi16(pairs, weights);
}

VECTOR vector shifted(vector x, int32_t right) {
    return _mm512_sra_epi32(x, _mm_cvtsi32_si128(right));
}
