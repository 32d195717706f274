/* Planes in vectors of 16 pixels, for AVX512: what vector_ymm.h says in vectors of 8. */

#include <immintrin.h>
#include <string.h>

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

VECTOR vector multiplied_each(vector sums, vector factor, vector left, vector right) {
    const vector half = _mm512_set1_epi64(INT64_C(1) << 30), one = every(1);
    const vector mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
    vector x = _mm512_sllv_epi32(sums, left);
    vector even = _mm512_add_epi64(_mm512_mul_epi32(x, factor), half);
    vector odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(factor, 32)), half);
    x = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    vector limit = _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(x, 31));
    __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(x, mask), limit);
    x = _mm512_srav_epi32(x, right);
    return _mm512_mask_sub_epi32(x, up, x, every(-1));
}

VECTOR vector multiplied(vector sums, int32_t multiplier, int32_t shift) {
    return multiplied_each(sums, every(multiplier), every(shift > 0 ? shift : 0), every(shift < 0 ? -shift : 0));
}

VECTOR vector plus(vector x, vector y) {
    return _mm512_add_epi32(x, y);
}

VECTOR vector minus(vector x, vector y) {
    return _mm512_sub_epi32(x, y);
}

VECTOR vector larger(vector x, vector y) {
    return _mm512_max_epi32(x, y);
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

VECTOR vector plus_products(vector sums, vector pairs, vector weights) {
    return _mm512_dpwssd_epi32(sums, pairs, weights);
}

VECTOR vector shifted(vector x, int32_t right) {
    return _mm512_sra_epi32(x, _mm_cvtsi32_si128(right));
}

VECTOR vector interleave_pairs_low(vector a, vector b) {
    return _mm512_unpacklo_epi16(a, b);
}

VECTOR vector interleave_pairs_high(vector a, vector b) {
    return _mm512_unpackhi_epi16(a, b);
}

VECTOR void transpose_lanes(vector *v) {
    const vector a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    const vector c = _mm512_shuffle_i32x4(v[0], v[1], 0xEE), d = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
    v[0] = _mm512_shuffle_i32x4(a, b, 0x88), v[1] = _mm512_shuffle_i32x4(a, b, 0xDD);
    v[2] = _mm512_shuffle_i32x4(c, d, 0x88), v[3] = _mm512_shuffle_i32x4(c, d, 0xDD);
}

VECTOR vector every_quad(const void *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(p));
}

VECTOR reals every_quad_of_reals(const float *p) {
    return _mm512_castsi512_ps(every_quad(p));
}

VECTOR vector part_pairs(vector pixels) {
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), pixels);
}

VECTOR reals load_reals(const float *p) {
    return _mm512_loadu_ps(p);
}

/* Four bytes, in every lane of 32 bits */
VECTOR vector every_at(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return every(word);
}

/* Four quads of each of four planes, `stride` bytes apart */
VECTOR vector load_lanes(const uint8_t *p, int64_t stride) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                                _mm_loadu_si128((const __m128i *)(p + stride)), 1);
    const uint8_t *q = p + 2 * stride;
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)q)),
                                                 _mm_loadu_si128((const __m128i *)(q + stride)), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* The first of them only, if there are fewer than 4 `quads` */
VECTOR void store_lanes(uint8_t *p, int64_t stride, vector v, const int quads) {
    const __m128i lanes[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1),
                              _mm512_extracti32x4_epi32(v, 2), _mm512_extracti32x4_epi32(v, 3)};
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        if (quads < 4)
            _mm_mask_storeu_epi32(p + i * stride, (__mmask8)((1u << quads) - 1), lanes[i]);
        else
            _mm_storeu_si128((__m128i *)(p + i * stride), lanes[i]);
}
