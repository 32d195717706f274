/* The largest numbers of each row. */

#include "plain.h"

/* Each number is put in where it belongs among those so far, behind its equals. */
#define TOP(name, type)                                                                              \
    static void top_##name(const void *row, int64_t depth, void *out, int32_t *index, int64_t picks) { \
        const type *in = row;                                                                        \
        type *best = out;                                                                            \
        for (int64_t i = 0, found = 0; i < depth; i++) {                                             \
            if (found == picks && !(in[i] > best[picks - 1])) continue;                              \
            int64_t at = found < picks ? found++ : picks - 1;                                        \
            for (; at > 0 && in[i] > best[at - 1]; at--) best[at] = best[at - 1], index[at] = index[at - 1]; \
            best[at] = in[i], index[at] = (int32_t)i;                                                \
        }                                                                                            \
    }
EK_TYPES(TOP)

typedef void top_fn(const void *row, int64_t depth, void *out, int32_t *index, int64_t picks);
#define FINDER(name, type) top_##name,
static top_fn *const finders[EK_TYPE_COUNT] = {EK_TYPES(FINDER)};
#define SIZE(name, type) sizeof(type),
static const int64_t sizes[EK_TYPE_COUNT] = {EK_TYPES(SIZE)};

void ek_topk__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_topk *op = raw;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena);
    int64_t item = sizes[op->type];
    for (int64_t row = begin; row < end; row++)
        finders[op->type](in + row * op->depth * item, op->depth, arena + op->output + row * op->picks * item,
                          (int32_t *)(arena + op->output_index) + row * op->picks, op->picks);
}

const char *ek_topk_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_topk *op = raw;
    CHECK(0 <= op->type && op->type < EK_TYPE_COUNT, "an unknown type");
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->depth && op->depth < EK_LIMIT / op->rows, "impossible sizes");
    CHECK(1 <= op->picks && op->picks <= op->depth, "more numbers than there are");
    int64_t in = op->rows * op->depth * sizes[op->type], out = op->rows * op->picks * sizes[op->type];
    int64_t index = op->rows * op->picks * 4;
    CHECK_SOURCE(op, input, 0, in, sizes[op->type]);
    CHECK_RANGE(op->output, out);
    CHECK_ALIGNED(op->output, sizes[op->type]);
    CHECK_RANGE(op->output_index, index);
    CHECK_ALIGNED(op->output_index, 4);
    CHECK_APART(op->output, out, op->output_index, index);
    CHECK_SOURCE_APART(op, input, 0, in, op->output, out);
    CHECK_SOURCE_APART(op, input, 0, in, op->output_index, index);
    *units = op->rows;
    return NULL;
}
