/* Blocks picked by numbers that are computed, which nobody has checked before. */

#include <string.h>

#include "plain.h"

/* Which block an index means, and whether there is one */
static int block_of(const ek_pick *op, const uint8_t *index, int64_t first, int64_t *block) {
    *block = 0;
    for (int64_t d = 0; d < op->limits_size; d++) {
        int64_t at = op->index_type == EK_INT64 ? ((const int64_t *)index)[first + d] : ((const int32_t *)index)[first + d];
        if (at < 0 || at >= op->limits[d]) return 0;
        *block = *block * op->limits[d] + at;
    }
    return 1;
}

void ek_pick__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pick *op = raw;
    const uint8_t *index = EK_SOURCE_OF(op, index, arena);
    int64_t slice = ek_count(op->limits, op->limits_size) * op->run, run = op->run;
    for (int64_t unit = begin; unit < end; unit++) {
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + unit * slice;
        uint8_t *out = arena + op->output + unit * op->picks * run;
        int64_t first = unit / op->share * op->picks * op->limits_size, block;
        for (int64_t i = 0; i < op->picks; i++, out += run)
            if (block_of(op, index, first + i * op->limits_size, &block))
                memcpy(out, in + block * run, (size_t)run);
            else {
                memset(out, 0, (size_t)run);
                __atomic_store_n((int32_t *)(arena + op->fault), op->number, __ATOMIC_RELAXED);
            }
    }
}

const char *ek_pick_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_pick *op = raw;
    int64_t limit = EK_LIMIT, rank = op->limits_size, blocks = 1, item = op->index_type == EK_INT64 ? 8 : 4;
    CHECK(op->index_type == EK_INT32 || op->index_type == EK_INT64, "an unknown type");
    CHECK(1 <= rank && rank <= EK_MAX_RANK, "an impossible number of axes");
    for (int64_t d = 0; d < rank; d++) {
        CHECK(1 <= op->limits[d] && op->limits[d] < limit / blocks, "impossible sizes");
        blocks *= op->limits[d];
    }
    CHECK(1 <= op->outer && op->outer < limit && 1 <= op->run && op->run < limit && 1 <= op->picks, "impossible sizes");
    CHECK(op->picks < limit && 1 <= op->share && op->outer % op->share == 0, "impossible sizes");
    int64_t most = blocks > op->picks ? blocks : op->picks;
    CHECK(op->run <= 2 * limit / most && op->outer <= 2 * limit / (op->run * most), "impossible sizes");
    int64_t in = op->outer * blocks * op->run, out = op->outer * op->picks * op->run;
    int64_t indices = op->outer / op->share * op->picks * rank * item;
    CHECK_INDEXED(op, in, 1, indices, item, out);
    *units = op->outer;
    return NULL;
}
