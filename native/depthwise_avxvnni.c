/* Depthwise convolutions on planes, AVX-VNNI. */

#include "ops.h"

#if defined(__x86_64__)

#include "avxvnni.h"
#include "vector_ymm.h"

#define quads transpose

#define ORDER 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
#define REGISTERS 16
#define FIVE_TAPS 1
#include "depthwise_walk.h"

DEPTHWISE(avxvnni)

#endif
