/* Pools of planes, AVX2: the plain loops, compiled for 32 bytes at a time. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2")))

#include "pooling.h"

TARGET void ek_pool_planes__avx2(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    pool(op, arena, begin, end);
}

#endif
