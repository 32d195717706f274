/* Blocks picked by number: what no strides describe. */

#include <string.h>

#include "plain.h"

void ek_gather__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_gather *op = raw;
    int64_t groups = ek_divide_up(op->index_size, EK_PICKS), run = op->run;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t slice = unit / groups, first = unit % groups * EK_PICKS, last = ek_least(first + EK_PICKS, op->index_size);
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + slice * op->count * run;
        uint8_t *out = arena + op->output + slice * op->index_size * run;
        for (int64_t i = first; i < last; i++) memcpy(out + i * run, in + op->index[i] * run, (size_t)run);
    }
}

const char *ek_gather_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_gather *op = raw;
    int64_t limit = EK_LIMIT, count = op->count, picks = op->index_size;
    CHECK(1 <= op->run && op->run < limit && 1 <= op->outer && op->outer < limit, "impossible sizes");
    CHECK(1 <= count && count < limit && 1 <= picks && picks < limit, "impossible sizes");
    CHECK(op->run <= 2 * limit / (count > picks ? count : picks), "impossible sizes");
    for (int64_t i = 0; i < picks; i++) CHECK(0 <= op->index[i] && op->index[i] < count, "a block that does not exist");
    CHECK(op->outer <= 2 * limit / (op->run * (count > picks ? count : picks)), "impossible sizes");
    CHECK_SOURCE(op, input, 0, op->outer * count * op->run, 1);
    CHECK_RANGE(op->output, op->outer * picks * op->run);
    CHECK_SOURCE_APART(op, input, 0, op->outer * count * op->run, op->output, op->outer * picks * op->run);
    *units = op->outer * ek_divide_up(picks, EK_PICKS);
    return NULL;
}
