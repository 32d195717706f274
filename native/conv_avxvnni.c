/* Convolutions on planes, AVX-VNNI: vpdpbusd on half registers, for CPUs without AVX512. */

#include "ops.h"

#if defined(__x86_64__)

#include "avxvnni.h"
#include "conv_ymm.h"

enum { LONG = 20 };
#define LONG_SINGLES(TILE)                                                                                   \
    TILE(wide_abreast, 1) TILE(wide_abreast, 2) TILE(wide_abreast, 3) TILE(wide_abreast, 4) TILE(wide_abreast, 5) \
    TILE(wide_abreast, 6) TILE(wide_abreast, 7)

#define HAS_ROWS
enum { ROWS_MOST = 6 };
#define ROWS_TILES(TILE)                                                     \
    TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6)        \
    TILE(2, 1) TILE(2, 2) TILE(2, 3)

#include "conv_finish.h"
#include "conv_dot.h"
#include "conv_walk.h"

CONV(avxvnni)

#endif
