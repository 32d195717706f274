/* Sums along an axis, up to each number. */

#include "plain.h"

#define SUMS(name, type, wide)                                                                        \
    static void sums_##name(const ek_cumsum *op, const uint8_t *raw_in, uint8_t *raw_out) {           \
        const type *in = (const type *)raw_in;                                                        \
        type *out = (type *)raw_out;                                                                  \
        for (int64_t i = 0; i < op->inner; i++) {                                                     \
            wide sum = 0;                                                                             \
            for (int64_t k = 0; k < op->count; k++) {                                                 \
                int64_t at = (op->reverse ? op->count - 1 - k : k) * op->inner + i;                   \
                wide next = sum + (wide)in[at];                                                       \
                out[at] = (type)(op->exclusive ? sum : next);                                         \
                sum = next;                                                                           \
            }                                                                                         \
        }                                                                                             \
    }
SUMS(float, float, float)
SUMS(int32, int32_t, uint32_t)
SUMS(int64, int64_t, uint64_t)

static int64_t size_of(int type) {
    return type == EK_INT64 ? 8 : 4;
}

void ek_cumsum__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_cumsum *op = raw;
    int64_t slice = op->count * op->inner * size_of(op->type);
    for (int64_t outer = begin; outer < end; outer++) {
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + outer * slice;
        uint8_t *out = arena + op->output + outer * slice;
        op->type == EK_FLOAT32 ? sums_float(op, in, out) : op->type == EK_INT32 ? sums_int32(op, in, out) : sums_int64(op, in, out);
    }
}

const char *ek_cumsum_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_cumsum *op = raw;
    int64_t limit = EK_LIMIT, item = size_of(op->type);
    CHECK(op->type == EK_FLOAT32 || op->type == EK_INT32 || op->type == EK_INT64, "an unknown type");
    CHECK(1 <= op->outer && op->outer < limit && 1 <= op->inner && op->inner < limit / op->outer, "impossible sizes");
    CHECK(1 <= op->count && op->count < limit / (op->outer * op->inner), "impossible sizes");
    int64_t bytes = op->outer * op->count * op->inner * item;
    CHECK_SOURCE(op, input, 0, bytes, item);
    CHECK_RANGE(op->output, bytes);
    CHECK_ALIGNED(op->output, item);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->outer;
    return NULL;
}
