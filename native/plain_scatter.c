/* Blocks added up at places that are computed, and numbers that may not be: what nobody has checked before. */

#include <string.h>

#include "plain.h"

static void fail(uint8_t *arena, int64_t fault, int32_t number) {
    __atomic_store_n((int32_t *)(arena + fault), number, __ATOMIC_RELAXED);
}

static const int64_t sizes[EK_TYPE_COUNT] = {
#define SIZE(name, type) sizeof(type),
    EK_TYPES(SIZE)
};

/* Which block an index means; -1 if there is none */
static int64_t block_of(const ek_scatter *op, const uint8_t *index, int64_t first) {
    int64_t block = 0;
    for (int64_t d = 0; d < op->limits_size; d++) {
        int64_t at = op->index_type == EK_INT64 ? ((const int64_t *)index)[first + d] : ((const int32_t *)index)[first + d];
        if (at < 0 || at >= op->limits[d]) return -1;
        block = block * op->limits[d] + at;
    }
    return block;
}

/* Whole numbers are added without a sign, so that they wrap around. */
#define ADD(name, type, wide)                                                               \
    case EK_##name:                                                                         \
        for (int64_t i = 0; i < op->run; i++)                                               \
            ((type *)out)[i] = (type)((wide)((type *)out)[i] + (wide)((const type *)in)[i]); \
        break;

static void add_block(const ek_scatter *op, const uint8_t *in, uint8_t *out) {
    switch (op->type) {
        ADD(FLOAT32, float, float)
        ADD(INT8, int8_t, uint64_t)
        ADD(UINT8, uint8_t, uint64_t)
        ADD(INT16, int16_t, uint64_t)
        ADD(INT32, int32_t, uint64_t)
        ADD(INT64, int64_t, uint64_t)
    }
}

void ek_scatter__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_scatter *op = raw;
    if (begin == end) return;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena), *index = EK_SOURCE_OF(op, index, arena);
    int64_t bytes = op->run * sizes[op->type];
    memset(arena + op->output, 0, (size_t)(ek_count(op->limits, op->limits_size) * bytes));
    for (int64_t i = 0; i < op->picks; i++) {
        int64_t block = block_of(op, index, i * op->limits_size);
        if (block < 0)
            fail(arena, op->fault, op->number);
        else
            add_block(op, in + i * bytes, arena + op->output + block * bytes);
    }
}

const char *ek_scatter_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_scatter *op = raw;
    int64_t limit = EK_LIMIT, rank = op->limits_size, blocks = 1;
    CHECK(0 <= op->type && op->type < EK_TYPE_COUNT, "an unknown type");
    CHECK(op->index_type == EK_INT32 || op->index_type == EK_INT64, "an unknown type");
    CHECK(1 <= rank && rank <= EK_MAX_RANK, "an impossible number of axes");
    for (int64_t d = 0; d < rank; d++) {
        CHECK(1 <= op->limits[d] && op->limits[d] < limit / blocks, "impossible sizes");
        blocks *= op->limits[d];
    }
    CHECK(1 <= op->run && op->run < limit / blocks && 1 <= op->picks && op->picks < limit / op->run, "impossible sizes");
    int64_t item = sizes[op->type], in = op->picks * op->run * item, out = blocks * op->run * item;
    int64_t index_item = sizes[op->index_type], indices = op->picks * rank * index_item;
    CHECK_INDEXED(op, in, item, indices, index_item, out);
    *units = 1;
    return NULL;
}

#define FIND(name, type)                                                                     \
    case EK_##name:                                                                          \
        for (int64_t i = first; i < last; i++) found |= ((const type *)in)[i] == (type)op->value; \
        break;

void ek_forbid__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_forbid *op = raw;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena);
    int64_t first = begin * EK_RUN, last = ek_least(end * EK_RUN, op->count);
    int found = 0;
    switch (op->type) { EK_TYPES(FIND) }
    if (found) fail(arena, op->fault, op->number);
}

const char *ek_forbid_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_forbid *op = raw;
    CHECK(EK_FLOAT32 < op->type && op->type < EK_TYPE_COUNT, "an unknown type");
    CHECK(1 <= op->count && op->count < EK_LIMIT, "impossible sizes");
    int64_t bytes = op->count * sizes[op->type];
    CHECK_SOURCE(op, input, 0, bytes, sizes[op->type]);
    CHECK_RANGE(op->fault, 4);
    CHECK_ALIGNED(op->fault, 4);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->fault, 4);
    *units = ek_divide_up(op->count, EK_RUN);
    return NULL;
}
