/* Convolutions on planes, AVX2. vpmaddubsw adds pairs of products in 16 bits, which the weights' packer keeps from
   saturating. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))

#include "conv_ymm.h"

VECTOR vector dot(vector sums, vector x, vector word) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(x, word), _mm256_set1_epi16(1)));
}

#include "conv_walk.h"

CONV(avx2)

#endif
