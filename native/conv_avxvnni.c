/* Convolutions on planes, AVX-VNNI: vpdpbusd on half registers, for CPUs without AVX512. */

#include "ops.h"

#if defined(__x86_64__)

#ifndef TARGET /* a test gives another, to run this on CPUs that have only the AVX-512 form of vpdpbusd */
#define TARGET __attribute__((target("avx2,fma,avxvnni")))
#endif

#include "conv_ymm.h"

VECTOR vector dot(vector sums, vector x, vector word) {
    return _mm256_dpbusd_avx_epi32(sums, x, word);
}

#include "conv_walk.h"

CONV(avxvnni)

#endif
