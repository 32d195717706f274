/* Every kernel of this CPU against the scalar one, on buffers of exactly the size that they need: built with
   the address and undefined-behaviour sanitizers by test_kernels.py. Prints how many layers were compared. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ek.h"

static uint64_t state = 88172645463325252u;

static uint32_t next(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void *aligned(size_t size) {
    void *p = aligned_alloc(EK_ALIGNMENT, (size + EK_ALIGNMENT - 1) / EK_ALIGNMENT * EK_ALIGNMENT);
    if (!p) abort();
    return memset(p, 0, size);
}

/* Weights, bias and scales of a random layer; a weight of -128 in every other one. */
static void fill(ek_fc_s8 *fc, int zero_point) {
    int64_t tiles = (fc->cols + EK_TILE - 1) / EK_TILE, quads = (fc->depth + EK_QUAD - 1) / EK_QUAD;
    int8_t *weights = aligned((size_t)(tiles * quads * EK_TILE * EK_QUAD));
    int32_t *bias = aligned((size_t)(tiles * EK_TILE) * 4), *bias_u8 = aligned((size_t)(tiles * EK_TILE) * 4);
    double *scale = aligned((size_t)(tiles * EK_TILE) * 8);
    int lowest = next() & 1 ? -128 : -127;
    fc->reaches_min = lowest == -128;
    for (int64_t c = 0; c < fc->cols; c++) {
        int32_t sum = 0, start = (int32_t)(next() % 200001) - 100000;
        for (int64_t d = 0; d < fc->depth; d++) {
            int w = next() % 4 ? lowest + (int)(next() % (unsigned)(128 - lowest)) : lowest;
            weights[((c / EK_TILE * quads + d / EK_QUAD) * EK_TILE + c % EK_TILE) * EK_QUAD + d % EK_QUAD] = (int8_t)w;
            sum += w;
        }
        bias[c] = start - zero_point * sum;
        bias_u8[c] = start - (zero_point + 128) * sum;
        scale[c] = next() % 8 ? (next() % 1000 + 1) * 1e-6 : 0.5;
    }
    fc->weights = weights, fc->bias = bias, fc->bias_u8 = bias_u8, fc->scale = scale;
}

static int compare(int64_t rows, int64_t depth, int64_t cols) {
    ek_fc_s8 fc = {.rows = rows, .depth = depth, .cols = cols, .zero_point = (int)(next() % 256) - 128, .low = -128, .high = 127};
    if (next() & 1) fc.low = fc.zero_point;
    fill(&fc, (int)(next() % 256) - 128);
    int8_t *in = malloc((size_t)(rows * depth)), *want = malloc((size_t)(rows * cols)), *out = malloc((size_t)(rows * cols));
    for (int64_t i = 0; i < rows * depth; i++) in[i] = (int8_t)(next() % 4 ? next() : 128);
    ek_fc_s8__scalar(&fc, in, want);
    int compared = 0;
    for (int k = 0; k < ek_kernel_count; k++) {
        if (!(ek_cpu_levels() >> ek_kernel_list[k].level & 1)) continue;
        memset(out, 77, (size_t)(rows * cols));
        ek_kernel_list[k].fc_s8(&fc, in, out);
        if (memcmp(want, out, (size_t)(rows * cols))) {
            printf("%s differs: %d x %d x %d\n", ek_level_name(ek_kernel_list[k].level), (int)rows, (int)depth, (int)cols);
            exit(1);
        }
        compared++;
    }
#ifdef STAND_IN /* AVX-VNNI's kernel, built for a CPU that has the same instruction in another encoding */
    memset(out, 77, (size_t)(rows * cols));
    ek_fc_s8__avxvnni(&fc, in, out);
    if (memcmp(want, out, (size_t)(rows * cols))) return printf("stand-in differs\n"), exit(1), 0;
    compared++;
#endif
    free(in), free(want), free(out);
    free((void *)fc.weights), free((void *)fc.bias), free((void *)fc.bias_u8), free((void *)fc.scale);
    return compared;
}

int main(void) {
    int compared = 0;
    for (int rows = 1; rows <= 9; rows++)
        for (int depth = 1; depth <= 13; depth++)
            for (int cols = 1; cols <= 70; cols += 3) compared += compare(rows, depth, cols);
    for (int i = 0; i < 40; i++) compared += compare(1 + next() % 12, 1 + next() % 600, 1 + next() % 200);
    printf("%d layers\n", compared);
    return 0;
}
