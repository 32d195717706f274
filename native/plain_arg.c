/* Which number along an axis is the largest or the least. */

#include "plain.h"

#define FIND(name, type)                                                                               \
    static int64_t find_##name(const void *numbers, int64_t count, int64_t stride, int least) {        \
        const type *in = numbers;                                                                      \
        int64_t best = 0;                                                                              \
        for (int64_t i = 1; i < count; i++)                                                            \
            if (least ? in[i * stride] < in[best * stride] : in[i * stride] > in[best * stride]) best = i; \
        return best;                                                                                   \
    }
EK_TYPES(FIND)

typedef int64_t find_fn(const void *numbers, int64_t count, int64_t stride, int least);
#define FINDER(name, type) find_##name,
static find_fn *const finders[EK_TYPE_COUNT] = {EK_TYPES(FINDER)};
#define SIZE(name, type) sizeof(type),
static const int64_t sizes[EK_TYPE_COUNT] = {EK_TYPES(SIZE)};

void ek_arg__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_arg *op = raw;
    for (int64_t outer = begin; outer < end; outer++)
        for (int64_t i = 0; i < op->inner; i++) {
            const uint8_t *in = EK_SOURCE_OF(op, input, arena) + (outer * op->count * op->inner + i) * sizes[op->type];
            int64_t best = finders[op->type](in, op->count, op->inner, op->least), at = outer * op->inner + i;
            if (op->output_type == EK_INT32)
                ((int32_t *)(arena + op->output))[at] = (int32_t)best;
            else
                ((int64_t *)(arena + op->output))[at] = best;
        }
}

const char *ek_arg_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_arg *op = raw;
    int64_t limit = EK_LIMIT;
    CHECK(0 <= op->type && op->type < EK_TYPE_COUNT, "an unknown type");
    CHECK(op->output_type == EK_INT32 || op->output_type == EK_INT64, "an unknown type");
    CHECK(1 <= op->outer && op->outer < limit && 1 <= op->inner && op->inner < limit / op->outer, "impossible sizes");
    CHECK(1 <= op->count && op->count < limit / (op->outer * op->inner), "impossible sizes");
    int64_t rows = op->outer * op->inner, in = rows * op->count * sizes[op->type], out = rows * sizes[op->output_type];
    CHECK_SOURCE(op, input, 0, in, sizes[op->type]);
    CHECK_RANGE(op->output, out);
    CHECK_ALIGNED(op->output, sizes[op->output_type]);
    CHECK_SOURCE_APART(op, input, 0, in, op->output, out);
    *units = op->outer;
    return NULL;
}
