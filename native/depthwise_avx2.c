/* Depthwise convolutions on planes, AVX2. vpmaddubsw adds pairs of products in 16 bits. They are made of taps that stand
   two apart: the middle one of three, often the largest, is alone. Of pairs that could still saturate one pixel is
   inverted, or, in windows wider than 3, the packer has split them. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))

#include "vector_ymm.h"

VECTOR vector quads(vector pixels) {
    const __m128i order = _mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
    return _mm256_shuffle_epi8(pixels, _mm256_broadcastsi128_si256(order));
}

VECTOR vector dot(vector sums, vector x, vector word) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(x, word), _mm256_set1_epi16(1)));
}

#define ORDER 0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15
#define REGISTERS 16
#define FIVE_TAPS 0
#define PAIRS_IN_16_BITS
#include "depthwise_walk.h"

DEPTHWISE(avx2)

#endif
