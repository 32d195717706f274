/* Every kernel of this CPU against the scalar one, on memory of exactly the size that it needs: built with the address
   and undefined-behaviour sanitizers by test_kernels.py. Prints how many runs were compared. */

#include "kernel_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

static uint64_t state = 88172645463325252u;

uint32_t below(uint32_t limit) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16) % limit;
}

void *exactly(size_t size, int filled) {
    void *memory;
    if (posix_memalign(&memory, EK_ALIGNMENT, size ? size : 1)) abort();
    for (size_t i = 0; i < size; i++) ((uint8_t *)memory)[i] = filled ? (uint8_t)below(256) : 0;
    return memory;
}

/* This CPU's levels, and AVX-VNNI's if its kernels were built for one that has the instruction in another form */
static uint32_t levels(void) {
#ifdef STAND_IN
    return ek_cpu_levels() | 1u << EK_AVXVNNI;
#else
    return ek_cpu_levels();
#endif
}

static uint8_t *result(ek_kernel_fn *run, const void *op, const uint8_t *start, int64_t bytes, int64_t units, loose any) {
    uint8_t *arena = exactly((size_t)bytes, 0);
    memcpy(arena, start, (size_t)bytes);
    run(op, arena, units / 2, units);
    run(op, arena, 0, units / 2);
    for (int64_t i = 0; i < any.count; i++) memset(arena + any.place + i * any.stride, 0, (size_t)any.size);
    return arena;
}

int compare(int family, const void *op, int64_t arena_bytes, loose any) {
    int64_t units = 0;
    const char *reason = ek_get_family(family).check(op, arena_bytes, &units);
    if (reason) printf("%s\n", reason), exit(1);
    uint8_t *start = exactly((size_t)arena_bytes, 1);
    uint8_t *want = result(ek_best_kernel(family, 1u << EK_SCALAR), op, start, arena_bytes, units, any);
    int compared = 0;
    for (int k = 0; k < ek_kernel_count; k++) {
        if (ek_kernel_list[k].family != family || !(levels() >> ek_kernel_list[k].level & 1)) continue;
        uint8_t *got = result(ek_kernel_list[k].run, op, start, arena_bytes, units, any);
        if (memcmp(want, got, (size_t)arena_bytes))
            printf("%s: %s differs\n", ek_get_family(family).name, ek_level_name(ek_kernel_list[k].level)), exit(1);
        free(got);
        compared++;
    }
    free(start), free(want);
    return compared;
}

int main(void) {
    printf("%d runs\n", check_fc() + check_conv());
    return 0;
}
