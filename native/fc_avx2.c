/* Fully connected layers, int8, AVX2.

   vpmaddubsw multiplies unsigned by signed bytes and adds pairs in 16 bits, where they may saturate. It gets
   |x| and w with the sign of x: |x| <= 128 and |w| <= 127 make pairs of at most 32512, which fit. A weight
   of -128 has no opposite in a byte, so it is taken as -127 - 1 in two products. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2")))
enum { ROWS = 2, TILES = 2 };

#include "fc_ymm.h"

typedef struct {
    __m256i value, magnitude; /* 8 copies of 4 inputs each */
} quad;

VECTOR tile tile_start(const ek_fc *fc, int64_t col) {
    return (tile){load(fc->bias + col), load(fc->bias + col + 8)};
}

VECTOR quad quad_load(const int8_t *in) {
    int32_t word;
    __builtin_memcpy(&word, in, sizeof word);
    __m256i value = _mm256_set1_epi32(word);
    return (quad){value, _mm256_abs_epi8(value)};
}

/* sums plus x * w, for |w| <= 127 */
VECTOR __m256i add_products(__m256i sums, __m256i w, quad x) {
    __m256i pairs = _mm256_maddubs_epi16(x.magnitude, _mm256_sign_epi8(w, x.value));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

VECTOR __m256i dot(__m256i sums, __m256i w, quad x, int safe) {
    if (!safe) return add_products(sums, w, x);
    __m256i minus_one = _mm256_cmpeq_epi8(w, _mm256_set1_epi8(-128)); /* where w is -128 */
    sums = add_products(sums, minus_one, x);
    return add_products(sums, _mm256_sub_epi8(w, minus_one), x);
}

VECTOR tile tile_dot(tile sums, const int8_t *w, quad x, int safe) {
    return (tile){dot(sums.low, load(w), x, safe), dot(sums.high, load(w + 32), x, safe)};
}

typedef struct {
    quad low, high;
} quads;

VECTOR quads quads_load(const int8_t *in, const int32_t *offsets) {
    __m256i low = gather(in, offsets), high = gather(in, offsets + 8);
    return (quads){{low, _mm256_abs_epi8(low)}, {high, _mm256_abs_epi8(high)}};
}

VECTOR tile tile_dot_each(tile sums, const int8_t *w, quads x, int safe) {
    return (tile){dot(sums.low, load(w), x.low, safe), dot(sums.high, load(w + 32), x.high, safe)};
}

#include "fc_walk.h"

TARGET void ek_fc__avx2(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    if (((const ek_fc *)op)->reaches_min)
        walk(op, 1, arena, begin, end);
    else
        walk(op, 0, arena, begin, end);
}

#endif
