/* Depthwise convolutions on planes, AVX512-VNNI. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

#include "vector_zmm.h"

#define quads transpose

VECTOR vector dot(vector sums, vector x, vector word) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(word));
    return sums;
}

#define ORDER 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
#define REGISTERS 32
#define FIVE_TAPS 1
#include "depthwise_walk.h"

DEPTHWISE(avx512vnni)

#endif
