/* AVX-VNNI's vpdpbusd, for CPUs without AVX512. With STAND_IN, CPUs that have only the AVX-512 form of the instruction
   run these kernels too: tests use it. */

#include <immintrin.h>

#ifdef STAND_IN
#define TARGET __attribute__((target("avx2,fma,avx512vl,avx512vnni")))
#define VPDPBUSD "vpdpbusd"
#else
#define TARGET __attribute__((target("avx2,fma,avxvnni")))
#define VPDPBUSD "%{vex%} vpdpbusd"
#endif

/* sums plus the dot products of quads of unsigned and signed bytes. In assembly because GCC copies the sums back and
   forth around the intrinsic. */
static inline __attribute__((always_inline)) TARGET __m256i dot(__m256i sums, __m256i x, __m256i w) {
    __asm__(VPDPBUSD " %2, %1, %0" : "+x"(sums) : "x"(x), "x"(w));
    return sums;
}
