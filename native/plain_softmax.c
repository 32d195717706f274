/* Softmax over rows: of bytes in TFLite's fixed point, and of floats. */

#include <math.h>

#include "plain.h"
#include "requantise.h"

enum { SUM_BITS = 12 }; /* by which exponentials are shifted before they are summed */

static inline uint8_t at(const ek_softmax *op, const uint8_t *in, int64_t i) {
    return op->type == EK_INT8 ? in[i] ^ 0x80 : in[i];
}

static void softmax_row(const ek_softmax *op, const uint8_t *in, uint8_t *out) {
    uint8_t largest = 0;
    int32_t sum = 0;
    for (int64_t i = 0; i < op->depth; i++) largest = at(op, in, i) > largest ? at(op, in, i) : largest;
    for (int64_t i = 0; i < op->depth; i++) sum += ek_rounding_shift(op->exponentials[largest - at(op, in, i)], SUM_BITS);
    int zeros = __builtin_clz((uint32_t)sum), shift = SUM_BITS - zeros + 31 - 8;
    int32_t scale = ek_inverse_of_one_plus((int32_t)(((uint32_t)sum << zeros) - (UINT32_C(1) << 31)));
    for (int64_t i = 0; i < op->depth; i++) {
        int32_t y = ek_rounding_shift(ek_doubling_high(scale, op->exponentials[largest - at(op, in, i)]), shift);
        out[i] = (uint8_t)(ek_clamp(y, 0, 255) ^ (op->type == EK_INT8 ? 0x80 : 0));
    }
}

void ek_softmax__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_softmax *op = raw;
    for (int64_t row = begin; row < end; row++)
        softmax_row(op, EK_SOURCE_OF(op, input, arena) + row * op->depth, arena + op->output + row * op->depth);
}

const char *ek_softmax_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_softmax *op = raw;
    CHECK(op->type == EK_INT8 || op->type == EK_UINT8, "an unknown type");
    CHECK(1 <= op->rows && op->rows < EK_LIMIT, "impossible sizes");
    CHECK(1 <= op->depth && op->depth < 1 << SUM_BITS, "rows that are too long for their sum");
    CHECK(op->exponentials_size == 256 && op->exponentials[0] == INT32_MAX, "a table of another size");
    for (int i = 0; i < 256; i++) CHECK(op->exponentials[i] >= 0, "a negative exponential");
    int64_t bytes = op->rows * op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 1);
    CHECK_RANGE(op->output, bytes);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}

/* In place of exponentials that are divided by their sum: what the sum's logarithm leaves */
static void log_softmax_float_row(const float *in, float *out, float largest, int64_t depth) {
    float sum = 0;
    for (int64_t i = 0; i < depth; i++) sum += expf(in[i] - largest);
    float rest = logf(sum);
    for (int64_t i = 0; i < depth; i++) out[i] = in[i] - largest - rest;
}

void ek_softmax_float__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_softmax_float *op = raw;
    for (int64_t row = begin; row < end; row++) {
        const float *in = (const float *)EK_SOURCE_OF(op, input, arena) + row * op->depth;
        float *out = (float *)(arena + op->output) + row * op->depth, largest = in[0], sum = 0;
        for (int64_t i = 1; i < op->depth; i++) largest = in[i] > largest ? in[i] : largest;
        if (op->logarithm) {
            log_softmax_float_row(in, out, largest, op->depth);
            continue;
        }
        for (int64_t i = 0; i < op->depth; i++) sum += out[i] = expf((in[i] - largest) * op->beta);
        for (int64_t i = 0; i < op->depth; i++) out[i] /= sum;
    }
}

const char *ek_softmax_float_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_softmax_float *op = raw;
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->depth && op->depth < EK_LIMIT, "impossible sizes");
    int64_t bytes = 4 * op->rows;
    CHECK(op->depth <= arena_bytes / bytes, "a tensor outside the arena");
    bytes *= op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 4);
    CHECK_RANGE(op->output, bytes);
    CHECK_ALIGNED(op->output, 4);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}
