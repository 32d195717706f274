/* Convolutions on planes, AVX512-VNNI. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

#include "vector_zmm.h"

enum { LONG = 20 };

#define SINGLES(TILE)                                                                                            \
    TILE(kept, 1) TILE(kept, 2) TILE(kept, 3) TILE(kept, 4) TILE(kept, 5) TILE(kept, 6) TILE(kept, 7)
#define LONG_SINGLES(TILE)                                                                                         \
    TILE(kept_abreast, 1) TILE(kept_abreast, 2) TILE(kept_abreast, 3) TILE(kept_abreast, 4) TILE(kept_abreast, 5) TILE(kept_abreast, 6) TILE(kept_abreast, 7)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2) TILE(fours, 3) TILE(fours, 4) TILE(fours, 5) TILE(fours, 6)
#define EIGHTS(TILE) TILE(eights, 1) TILE(eights, 2) TILE(eights, 3)
#define PLANARS(TILE) TILE(planar, 1) TILE(planar, 2) TILE(planar, 3) TILE(planar, 4)

/* In assembly because GCC copies the sums back and forth around the intrinsic. */
VECTOR vector dot(vector sums, vector x, vector word) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(word));
    return sums;
}

#define HAS_ROWS
enum { ROWS_MOST = 14 };
#define ROWS_TILES(TILE)                                                                                   \
    TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8) TILE(1, 9)     \
    TILE(1, 10) TILE(1, 11) TILE(1, 12) TILE(1, 13) TILE(1, 14)                                            \
    TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6) TILE(2, 7)

#include "conv_finish.h"
#include "conv_dot.h"
#include "conv_walk.h"

CONV(avx512vnni)

#endif
