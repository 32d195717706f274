/* Planes of quads to planes of one channel: definition and check. */

#include "check.h"

void ek_spread_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_spread_planes *op = op_;
    for (int64_t c = EK_QUAD * begin; c < EK_QUAD * end; c++) {
        const uint8_t *in = arena + op->input + c / EK_QUAD * op->input_stride + c % EK_QUAD;
        uint8_t *out = arena + op->output + c * op->output_stride;
        for (int64_t p = 0; p < op->pixels; p++) out[p] = in[EK_QUAD * p];
    }
}

const char *ek_spread_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_spread_planes *op = op_;
    CHECK(0 < op->planes && op->planes < (1 << 20) && 0 < op->pixels && op->pixels < EK_LIMIT, "impossible sizes");
    CHECK(ek_planes_inside(op->input, op->input_stride, op->planes, op->pixels, 0, 0, arena_bytes),
          "an input outside the arena");
    int64_t outputs = EK_QUAD * (int64_t)op->planes, size = op->pixels + EK_SLACK;
    CHECK(0 <= op->output_stride && op->output_stride <= arena_bytes / outputs, "an output outside the arena");
    CHECK(op->output_stride >= size, "planes that overlap");
    CHECK_RANGE(op->output, outputs * op->output_stride);
    CHECK_APART(op->input, (op->planes - 1) * op->input_stride + EK_QUAD * op->pixels + EK_SLACK, op->output,
                outputs * op->output_stride);
    *units = op->planes;
    return NULL;
}
