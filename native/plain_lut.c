/* Any function of a byte, as a table; with bytes in and numbers of any size out. */

#include <string.h>

#include "plain.h"

static void look_up(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t count, int64_t item) {
    if (item == 1)
        for (int64_t i = 0; i < count; i++) out[i] = table[in[i]];
    else if (item == 4)
        for (int64_t i = 0; i < count; i++) memcpy(out + 4 * i, table + 4 * in[i], 4);
    else
        for (int64_t i = 0; i < count; i++) memcpy(out + item * i, table + item * in[i], (size_t)item);
}

void ek_lut__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_lut *op = raw;
    int64_t runs = ek_divide_up(op->columns, EK_RUN);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t row = unit / runs, first = unit % runs * EK_RUN;
        look_up(op->table, EK_SOURCE_OF(op, input, arena) + row * op->input_stride + first,
                arena + op->output + row * op->output_stride + first * op->item,
                ek_least(EK_RUN, op->columns - first), op->item);
    }
}

const char *ek_lut_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_lut *op = raw;
    CHECK(1 <= op->item && op->item <= 8 && op->table_size == 256 * op->item, "a table of another size");
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->columns && op->columns < EK_LIMIT, "impossible sizes");
    CHECK(0 <= op->input_stride && op->input_stride < EK_LIMIT, "impossible strides");
    CHECK(op->columns * op->item <= op->output_stride && op->output_stride < 8 * EK_LIMIT, "rows that overlap");
    int64_t in_bytes = (op->rows - 1) * op->input_stride + op->columns;
    int64_t out_bytes = (op->rows - 1) * op->output_stride + op->columns * op->item;
    CHECK_SOURCE(op, input, 0, in_bytes, 1);
    CHECK_RANGE(op->output, out_bytes);
    if (op->item != 1 || op->input_stride != op->output_stride || op->input != op->output)
        CHECK_SOURCE_APART(op, input, 0, in_bytes, op->output, out_bytes);
    *units = op->rows * ek_divide_up(op->columns, EK_RUN);
    return NULL;
}
