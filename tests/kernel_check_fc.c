/* Random fully connected layers, dense and sparse */

#include <stdlib.h>

#include "kernel_check.h"
#include "ops.h"

static int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

/* 16 outputs' quads in each of `steps`, at random places */
static void make_sparse(ek_fc *fc, int64_t tiles) {
    int32_t *starts = exactly((size_t)(tiles + 1) * 4, 0);
    for (int64_t t = 0; t < tiles; t++) starts[t + 1] = starts[t] + (int32_t)below(6) + !t;
    int64_t steps = starts[tiles];
    int32_t *offsets = exactly((size_t)(steps * EK_TILE) * 4, 0);
    for (int64_t i = 0; i < steps * EK_TILE; i++) offsets[i] = EK_QUAD * (int32_t)below((uint32_t)fc->depth / EK_QUAD);
    fc->starts = starts, fc->starts_size = tiles + 1, fc->offsets = offsets, fc->offsets_size = steps * EK_TILE;
    fc->weights_size = steps * EK_TILE * EK_QUAD;
}

static void fill(ek_fc *fc, int64_t tiles) {
    int64_t outputs = tiles * EK_TILE, lowest = below(2) ? -128 : -127;
    int8_t *weights = exactly((size_t)fc->weights_size, 0);
    int32_t *bias = exactly((size_t)outputs * 4, 0), *bias_u8 = exactly((size_t)outputs * 4, 0);
    double *scale = exactly((size_t)outputs * 8, 0);
    for (int64_t i = 0; i < fc->weights_size; i++)
        weights[i] = (int8_t)(below(4) ? lowest + below((uint32_t)(128 - lowest)) : lowest);
    for (int64_t c = 0; c < outputs; c++) {
        bias[c] = (int32_t)below(200001) - 100000;
        scale[c] = below(8) ? (below(1000) + 1) * 1e-6 : 0.5;
    }
    int64_t quads = (fc->depth + EK_QUAD - 1) / EK_QUAD;
    for (int64_t i = 0; i < fc->weights_size && !fc->offsets_size; i++) /* none beyond the depth */
        if (i / (EK_TILE * EK_QUAD) % quads * EK_QUAD + i % EK_QUAD >= fc->depth) weights[i] = 0;
    fc->reaches_min = lowest == -128;
    fc->weights = weights, fc->scale = scale, fc->scale_size = outputs;
    fc->bias = bias, fc->bias_size = outputs, fc->bias_u8 = bias_u8, fc->bias_u8_size = outputs;
}

/* bias_u8 takes 128 of each weight back. */
static void balance(const ek_fc *fc, int64_t tiles) {
    int32_t *bias_u8 = (int32_t *)fc->bias_u8;
    int64_t quads = fc->offsets_size ? 0 : fc->weights_size / tiles / (EK_TILE * EK_QUAD);
    for (int64_t t = 0; t < tiles; t++) {
        int64_t first = fc->offsets_size ? fc->starts[t] : t * quads;
        int64_t last = fc->offsets_size ? fc->starts[t + 1] : first + quads;
        for (int64_t c = 0; c < EK_TILE; c++) bias_u8[t * EK_TILE + c] = fc->bias[t * EK_TILE + c];
        for (int64_t i = first * EK_TILE * EK_QUAD; i < last * EK_TILE * EK_QUAD; i++)
            bias_u8[t * EK_TILE + i / EK_QUAD % EK_TILE] -= 128 * fc->weights[i];
    }
}

static int check_one(int64_t rows, int64_t depth, int64_t cols, int sparse) {
    int64_t tiles = (cols + EK_TILE - 1) / EK_TILE, output = round_up(rows * depth, EK_ALIGNMENT);
    ek_fc fc = {.rows = rows, .depth = depth, .cols = cols, .output = output, .low = -128, .high = 127,
                .zero_point = (int32_t)below(256) - 128};
    fc.weights_size = tiles * EK_TILE * round_up(depth, EK_QUAD);
    if (below(2)) fc.low = fc.zero_point;
    if (sparse) make_sparse(&fc, tiles);
    fill(&fc, tiles);
    balance(&fc, tiles);
    int compared = compare(EK_FAMILY_fc, &fc, output + rows * cols, (loose){0});
    free((void *)fc.weights), free((void *)fc.bias), free((void *)fc.bias_u8), free((void *)fc.scale);
    free((void *)fc.starts), free((void *)fc.offsets);
    return compared;
}

int check_fc(void) {
    int compared = 0;
    for (int rows = 1; rows <= 9; rows++)
        for (int depth = 1; depth <= 13; depth += 2)
            for (int cols = 1; cols <= 70; cols += 7) compared += check_one(rows, depth, cols, 0);
    for (int i = 0; i < 20; i++) compared += check_one(1 + below(12), 1 + below(600), 1 + below(200), 0);
    for (int i = 0; i < 60; i++) compared += check_one(1 + below(5), EK_QUAD * (1 + below(30)), 1 + below(100), 1);
    return compared;
}
