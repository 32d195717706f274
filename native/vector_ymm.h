/* Planes in vectors of 8 pixels of 4 bytes, for AVX2: what levels of this architecture share. */

#include <immintrin.h>
#include <string.h>

#define VECTOR static inline __attribute__((always_inline)) TARGET

typedef __m256i vector;
typedef __m256 reals;
enum { PIXELS = 8 };

VECTOR vector load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

VECTOR void store(void *p, vector v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

/* Only the first pixels, fewer than all */
VECTOR void store_first(void *p, vector v, int64_t pixels) {
    vector mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)pixels), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_maskstore_epi32(p, mask, v);
}

VECTOR vector every(int32_t value) {
    return _mm256_set1_epi32(value);
}

VECTOR vector every_byte(int32_t value) {
    return _mm256_set1_epi8((char)value);
}

VECTOR reals every_real(float value) {
    return _mm256_set1_ps(value);
}

VECTOR reals reals_of(vector integers) {
    return _mm256_cvtepi32_ps(integers);
}

VECTOR reals reals_of_bits(vector bits) {
    return _mm256_castsi256_ps(bits);
}

/* From sums to values, rounded once */
VECTOR vector scaled(reals sums, reals scale, reals zero_point) {
    return _mm256_cvtps_epi32(_mm256_fmadd_ps(sums, scale, zero_point));
}

/* From sums to values less the zero point, rounded twice: ek_multiply() for multipliers that are not negative; shifts to
   the left and to the right. Halves of a doubled product are rounded up, also those below zero: in 64 bits that is the
   same. */
VECTOR vector multiplied_each(vector sums, vector factor, vector left, vector right) {
    const vector half = _mm256_set1_epi64x(INT64_C(1) << 30), one = every(1);
    const vector mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
    vector x = _mm256_sllv_epi32(sums, left);
    vector even = _mm256_add_epi64(_mm256_mul_epi32(x, factor), half);
    vector odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(factor, 32)), half);
    x = _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xAA);
    vector limit = _mm256_sub_epi32(_mm256_srli_epi32(mask, 1), _mm256_srai_epi32(x, 31));
    vector up = _mm256_cmpgt_epi32(_mm256_and_si256(x, mask), limit);
    return _mm256_sub_epi32(_mm256_srav_epi32(x, right), up);
}

VECTOR vector multiplied(vector sums, int32_t multiplier, int32_t shift) {
    return multiplied_each(sums, every(multiplier), every(shift > 0 ? shift : 0), every(shift < 0 ? -shift : 0));
}

VECTOR vector plus(vector x, vector y) {
    return _mm256_add_epi32(x, y);
}

VECTOR vector minus(vector x, vector y) {
    return _mm256_sub_epi32(x, y);
}

/* Bits that are in one of them only */
VECTOR vector either(vector x, vector y) {
    return _mm256_xor_si256(x, y);
}

VECTOR vector larger(vector x, vector y) {
    return _mm256_max_epi32(x, y);
}

/* To bytes, saturated, in groups of 4 of each */
VECTOR vector narrow(vector a, vector b, vector c, vector d) {
    return _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}

VECTOR vector clamp(vector bytes, vector low, vector high) {
    return _mm256_min_epu8(_mm256_max_epu8(bytes, low), high);
}

/* Groups of 4 pixels of 4 channels become 4 channels of 4 pixels. */
VECTOR vector transpose(vector bytes) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
}

VECTOR vector interleave_low(vector a, vector b) {
    return _mm256_unpacklo_epi8(a, b);
}

VECTOR vector interleave_high(vector a, vector b) {
    return _mm256_unpackhi_epi8(a, b);
}

/* Sums of two products of 16 bits */
VECTOR vector products(vector pairs, vector weights) {
    return _mm256_madd_epi16(pairs, weights);
}

VECTOR vector plus_products(vector sums, vector pairs, vector weights) {
    return _mm256_add_epi32(sums, products(pairs, weights));
}

VECTOR vector shifted(vector x, int32_t right) {
    return _mm256_sra_epi32(x, _mm_cvtsi32_si128(right));
}

VECTOR vector interleave_pairs_low(vector a, vector b) {
    return _mm256_unpacklo_epi16(a, b);
}

VECTOR vector interleave_pairs_high(vector a, vector b) {
    return _mm256_unpackhi_epi16(a, b);
}

/* The first lanes of 4 vectors, one after another, then their second lanes, and so on */
VECTOR void transpose_lanes(vector *v) {
    const vector a = v[0], b = v[1], c = v[2], d = v[3];
    v[0] = _mm256_permute2x128_si256(a, b, 0x20), v[1] = _mm256_permute2x128_si256(c, d, 0x20);
    v[2] = _mm256_permute2x128_si256(a, b, 0x31), v[3] = _mm256_permute2x128_si256(c, d, 0x31);
}

/* Four numbers for the channels of each pixel; reals are floats like any bits */
VECTOR vector every_quad(const void *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

VECTOR reals every_quad_of_reals(const float *p) {
    return _mm256_castsi256_ps(every_quad(p));
}

/* Of groups of 4 pixels, the first pairs of all groups, then the last ones */
VECTOR vector part_pairs(vector pixels) {
    return _mm256_permute4x64_epi64(pixels, 0xD8);
}

VECTOR reals load_reals(const float *p) {
    return _mm256_loadu_ps(p);
}

/* Four bytes, in every lane of 32 bits */
VECTOR vector every_at(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return every(word);
}

/* Four quads of each of two planes, `stride` bytes apart */
VECTOR vector load_lanes(const uint8_t *p, int64_t stride) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                   _mm_loadu_si128((const __m128i *)(p + stride)), 1);
}

/* The first of them only, if there are fewer than 4 `quads` */
VECTOR void store_lanes(uint8_t *p, int64_t stride, vector v, const int quads) {
    const __m128i lanes[2] = {_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)};
    const __m128i first = _mm_cmpgt_epi32(_mm_set1_epi32(quads), _mm_setr_epi32(0, 1, 2, 3));
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++)
        if (quads < 4)
            _mm_maskstore_epi32((int *)(p + i * stride), first, lanes[i]);
        else
            _mm_storeu_si128((__m128i *)(p + i * stride), lanes[i]);
}
