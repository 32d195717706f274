/* Depthwise convolutions on planes, AVX-VNNI. */

#include "ops.h"

#if defined(__x86_64__)

#ifdef STAND_IN /* a test runs this on CPUs that have only the AVX-512 form of the instruction */
#define TARGET __attribute__((target("avx2,fma,avx512vl,avx512vnni")))
#define VPDPBUSD "vpdpbusd"
#else
#define TARGET __attribute__((target("avx2,fma,avxvnni")))
#define VPDPBUSD "%{vex%} vpdpbusd"
#endif

#include "vector_ymm.h"

#define quads transpose

VECTOR vector dot(vector sums, vector x, vector word) {
    __asm__(VPDPBUSD " %2, %1, %0" : "+x"(sums) : "x"(x), "x"(word));
    return sums;
}

#define ORDER 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
#define REGISTERS 16
#define FIVE_TAPS 1
#include "depthwise_walk.h"

DEPTHWISE(avxvnni)

#endif
