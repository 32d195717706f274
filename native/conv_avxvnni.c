/* Convolutions on planes, AVX-VNNI: vpdpbusd on half registers, for CPUs without AVX512. */

#include "ops.h"

#if defined(__x86_64__)

#ifdef STAND_IN /* a test runs this on CPUs that have only the AVX-512 form of the instruction */
#define TARGET __attribute__((target("avx2,fma,avx512vl,avx512vnni")))
#define VPDPBUSD "vpdpbusd"
#else
#define TARGET __attribute__((target("avx2,fma,avxvnni")))
#define VPDPBUSD "%{vex%} vpdpbusd"
#endif

#include "conv_ymm.h"

enum { LONG = 20 };
#define LONG_SINGLES(TILE)                                                                                   \
    TILE(wide_abreast, 1) TILE(wide_abreast, 2) TILE(wide_abreast, 3) TILE(wide_abreast, 4) TILE(wide_abreast, 5) \
    TILE(wide_abreast, 6) TILE(wide_abreast, 7)

/* In assembly because GCC copies the sums back and forth around the intrinsic. */
VECTOR vector dot(vector sums, vector x, vector word) {
    __asm__(VPDPBUSD " %2, %1, %0" : "+x"(sums) : "x"(x), "x"(word));
    return sums;
}

#include "conv_walk.h"

CONV(avxvnni)

#endif
