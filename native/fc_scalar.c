/* Fully connected layers, int8: the definition that every ISA level is tested against, and their check. */

#include <math.h>

#include "check.h"

static int8_t requantise(const ek_fc *fc, int64_t col, int32_t sum) {
    int32_t y = (int32_t)round(sum * fc->scale[col]) + fc->zero_point;
    return (int8_t)(y < fc->low ? fc->low : y > fc->high ? fc->high : y);
}

static int32_t dense_sum(const ek_fc *fc, int64_t col, const int8_t *in) {
    int64_t quads = (fc->depth + EK_QUAD - 1) / EK_QUAD;
    const int8_t *w = fc->weights + (col / EK_TILE * quads * EK_TILE + col % EK_TILE) * EK_QUAD;
    int32_t sum = fc->bias[col];
    for (int64_t d = 0; d < fc->depth; d++) sum += in[d] * w[d / EK_QUAD * EK_TILE * EK_QUAD + d % EK_QUAD];
    return sum;
}

static int32_t sparse_sum(const ek_fc *fc, int64_t col, const int8_t *in) {
    int32_t sum = fc->bias[col];
    for (int64_t s = fc->starts[col / EK_TILE]; s < fc->starts[col / EK_TILE + 1]; s++)
        for (int64_t k = 0, at = s * EK_TILE + col % EK_TILE; k < EK_QUAD; k++)
            sum += in[fc->offsets[at] + k] * fc->weights[at * EK_QUAD + k];
    return sum;
}

void ek_fc__scalar(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_fc *fc = op;
    const int8_t *in = (const int8_t *)arena + fc->input;
    int8_t *out = (int8_t *)arena + fc->output;
    int64_t last = end * EK_TILE < fc->cols ? end * EK_TILE : fc->cols;
    for (int64_t row = 0; row < fc->rows; row++, in += fc->depth, out += fc->cols)
        for (int64_t col = begin * EK_TILE; col < last; col++)
            out[col] = requantise(fc, col, fc->offsets_size ? sparse_sum(fc, col, in) : dense_sum(fc, col, in));
}

static const char *check_steps(const ek_fc *fc, int64_t tiles) {
    int64_t steps = fc->offsets_size / EK_TILE;
    CHECK(fc->depth % EK_QUAD == 0 && fc->offsets_size == steps * EK_TILE, "another number of offsets");
    CHECK(fc->weights_size == fc->offsets_size * EK_QUAD, "weights of another size");
    CHECK(fc->starts_size == tiles + 1 && fc->starts[0] == 0 && fc->starts[tiles] == steps, "steps of no tile");
    for (int64_t t = 0; t < tiles; t++) CHECK(fc->starts[t] <= fc->starts[t + 1], "steps out of order");
    for (int64_t i = 0; i < fc->offsets_size; i++)
        CHECK(0 <= fc->offsets[i] && fc->offsets[i] <= fc->depth - EK_QUAD, "an offset outside the row");
    return NULL;
}

const char *ek_fc_check(const void *op, int64_t arena_bytes, int64_t *units) {
    const ek_fc *fc = op;
    CHECK(0 <= fc->rows && fc->rows < EK_LIMIT && 1 <= fc->depth && fc->depth <= EK_MAX_DEPTH, "impossible sizes");
    CHECK(1 <= fc->cols && fc->cols < EK_LIMIT, "impossible sizes");
    int64_t tiles = (fc->cols + EK_TILE - 1) / EK_TILE, quads = (fc->depth + EK_QUAD - 1) / EK_QUAD;
    const char *reason = fc->offsets_size ? check_steps(fc, tiles) : NULL;
    if (reason) return reason;
    CHECK(fc->offsets_size || fc->weights_size == tiles * quads * EK_TILE * EK_QUAD, "weights of another size");
    CHECK(fc->bias_size == tiles * EK_TILE && fc->bias_u8_size == tiles * EK_TILE, "a bias of another length");
    CHECK(fc->scale_size == tiles * EK_TILE, "scales of another length");
    for (int64_t c = 0; c < fc->scale_size; c++)
        CHECK(fc->scale[c] >= 0, "a scale that is negative or not a number");
    CHECK(-128 <= fc->zero_point && fc->zero_point <= 127, "impossible zero point");
    CHECK(-128 <= fc->low && fc->low <= fc->high && fc->high <= 127, "impossible clamp");
    CHECK_RANGE(fc->input, fc->rows * fc->depth);
    CHECK_RANGE(fc->output, fc->rows * fc->cols);
    CHECK_APART(fc->input, fc->rows * fc->depth, fc->output, fc->rows * fc->cols);
    *units = fc->rows ? tiles : 0;
    return NULL;
}
