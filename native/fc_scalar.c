/* Fully connected layers, int8: the definition that every ISA level is tested against. */

#include <math.h>

#include "ek.h"

static int8_t requantise(const ek_fc_s8 *fc, int64_t col, int32_t sum) {
    int32_t y = (int32_t)round(sum * fc->scale[col]) + fc->zero_point;
    return (int8_t)(y < fc->low ? fc->low : y > fc->high ? fc->high : y);
}

void ek_fc_s8__scalar(const ek_fc_s8 *fc, const int8_t *in, int8_t *out) {
    int64_t quads = (fc->depth + EK_QUAD - 1) / EK_QUAD;
    for (int64_t row = 0; row < fc->rows; row++, in += fc->depth, out += fc->cols)
        for (int64_t col = 0; col < fc->cols; col++) {
            const int8_t *w = fc->weights + (col / EK_TILE * quads * EK_TILE + col % EK_TILE) * EK_QUAD;
            int32_t sum = fc->bias[col];
            for (int64_t d = 0; d < fc->depth; d++)
                sum += in[d] * w[d / EK_QUAD * EK_TILE * EK_QUAD + d % EK_QUAD];
            out[col] = requantise(fc, col, sum);
        }
}
