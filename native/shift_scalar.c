/* Shifted copies of planes: definition, check, and the kernel of every level, as memory is all that it waits for. */

#include <string.h>

#include "check.h"

void ek_shift_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_shift_planes *op = op_;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t copy = unit / op->planes, plane = unit % op->planes;
        memcpy(arena + op->output + unit * op->output_stride,
               arena + op->input + plane * op->input_stride + EK_QUAD * (int64_t)op->shifts[copy],
               (size_t)(EK_QUAD * op->pixels));
    }
}

const char *ek_shift_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_shift_planes *op = op_;
    CHECK(0 < op->planes && op->planes < (1 << 16) && op->shifts_size < (1 << 8), "an impossible number of planes");
    CHECK(0 < op->pixels && op->pixels < EK_LIMIT, "impossible sizes");
    int64_t copies = op->shifts_size * op->planes, size = EK_QUAD * op->pixels;
    CHECK(0 <= op->input && op->input <= arena_bytes, "an input outside the arena");
    for (int64_t i = 0; i < op->shifts_size; i++)
        CHECK(ek_planes_inside(op->input + EK_QUAD * (int64_t)op->shifts[i], op->input_stride, op->planes, op->pixels, 0, 0,
                               arena_bytes), "an input outside the arena");
    CHECK(copies == 0 || ek_planes_inside(op->output, op->output_stride, copies, op->pixels, 0, 0, arena_bytes),
          "an output outside the arena");
    CHECK(copies <= 1 || op->output_stride >= size, "planes that overlap");
    int64_t reach = (op->planes - 1) * op->input_stride + size;
    for (int64_t i = 0; i < op->shifts_size; i++)
        CHECK_APART(op->input + EK_QUAD * (int64_t)op->shifts[i], reach, op->output, (copies - 1) * op->output_stride + size);
    *units = copies;
    return NULL;
}
