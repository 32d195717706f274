/* The logarithm of softmax over rows of bytes. */

#include <math.h>

#include "plain.h"
#include "requantise.h"

static inline int32_t at(const ek_log_softmax *op, const uint8_t *in, int64_t i) {
    return op->type == EK_INT8 ? (int8_t)in[i] : in[i];
}

static void log_softmax_row(const ek_log_softmax *op, const uint8_t *in, uint8_t *out) {
    int32_t largest = at(op, in, 0), high = op->type == EK_INT8 ? INT8_MAX : UINT8_MAX;
    float sum = 0;
    for (int64_t i = 1; i < op->depth; i++) largest = at(op, in, i) > largest ? at(op, in, i) : largest;
    for (int64_t i = 0; i < op->depth; i++) sum += op->exponentials[largest - at(op, in, i)];
    float scale = op->input_scale / op->output_scale;
    float rest = (op->input_scale * (float)largest + (float)log((double)sum)) / op->output_scale;
    for (int64_t i = 0; i < op->depth; i++) {
        float real = rintf(scale * (float)at(op, in, i) - rest) + (float)high, low = (float)(high - UINT8_MAX);
        out[i] = (uint8_t)(int32_t)(real < low ? low : real > (float)high ? (float)high : real);
    }
}

void ek_log_softmax__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_log_softmax *op = raw;
    for (int64_t row = begin; row < end; row++)
        log_softmax_row(op, EK_SOURCE_OF(op, input, arena) + row * op->depth, arena + op->output + row * op->depth);
}

const char *ek_log_softmax_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_log_softmax *op = raw;
    CHECK(op->type == EK_INT8 || op->type == EK_UINT8, "an unknown type");
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->depth && op->depth < EK_LIMIT / op->rows, "impossible sizes");
    CHECK(op->exponentials_size == 256 && op->exponentials[0] == 1, "a table of another size");
    for (int i = 0; i < 256; i++) CHECK(op->exponentials[i] >= 0 && op->exponentials[i] <= 1, "no exponentials");
    CHECK(op->input_scale > 0 && op->input_scale < 1e6f && op->output_scale > 1e-6f, "scales that are too far apart");
    int64_t bytes = op->rows * op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 1);
    CHECK_RANGE(op->output, bytes);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}
