/* Fully connected layers, int8, AVX-VNNI: vpdpbusd on half registers, for CPUs without AVX512. */

#include "ops.h"

#if defined(__x86_64__)

#include "avxvnni.h"

enum { ROWS = 2, TILES = 2 };

#include "fc_ymm.h"

typedef __m256i quad; /* 8 copies of 4 inputs, plus 128: vpdpbusd takes them unsigned */

VECTOR tile tile_start(const ek_fc *fc, int64_t col) {
    return (tile){load(fc->bias_u8 + col), load(fc->bias_u8 + col + 8)};
}

VECTOR quad quad_load(const int8_t *in) {
    int32_t word;
    __builtin_memcpy(&word, in, sizeof word);
    return _mm256_xor_si256(_mm256_set1_epi32(word), _mm256_set1_epi8(-128));
}

VECTOR tile tile_dot(tile sums, const int8_t *w, quad x, int safe) {
    (void)safe; /* every product fits */
    return (tile){dot(sums.low, x, load(w)), dot(sums.high, x, load(w + 32))};
}

typedef struct {
    __m256i low, high;
} quads;

VECTOR quads quads_load(const int8_t *in, const int32_t *offsets) {
    const __m256i flip = _mm256_set1_epi8(-128);
    return (quads){_mm256_xor_si256(gather(in, offsets), flip), _mm256_xor_si256(gather(in, offsets + 8), flip)};
}

VECTOR tile tile_dot_each(tile sums, const int8_t *w, quads x, int safe) {
    (void)safe; /* every product fits */
    return (tile){dot(sums.low, x.low, load(w)), dot(sums.high, x.high, load(w + 32))};
}

#include "fc_walk.h"

TARGET void ek_fc__avxvnni(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    walk(op, 0, arena, begin, end);
}

#endif
