/* Items of one of two operands, as a third says. */

#include <string.h>

#include "plain.h"

typedef struct operand {
    const uint8_t *at;
    const int64_t *strides;
} operand;

#define LINE(bytes)                                                                                    \
    static void line_##bytes(operand c, operand a, operand b, int64_t axis, uint8_t *out, int64_t count) { \
        int64_t step = c.strides[axis], a_step = a.strides[axis], b_step = b.strides[axis];            \
        for (int64_t i = 0; i < count; i++)                                                            \
            memcpy(out + i * bytes, c.at[i * step] ? a.at + i * a_step : b.at + i * b_step, bytes);    \
    }
LINE(1)
LINE(2)
LINE(4)
LINE(8)

typedef void line_fn(operand c, operand a, operand b, int64_t axis, uint8_t *out, int64_t count);
static line_fn *const lines[9] = {[1] = line_1, [2] = line_2, [4] = line_4, [8] = line_8};

static operand moved(operand x, int64_t axis, int64_t steps) {
    return (operand){x.at + steps * x.strides[axis], x.strides};
}

/* Indices [first, last) of an axis, and all of the axes behind it; `out` is where they go. */
static uint8_t *select_axis(const ek_select *op, int64_t axis, operand c, operand a, operand b, uint8_t *out, int64_t first,
                            int64_t last) {
    if (axis + 1 == op->sizes_size) {
        lines[op->item](moved(c, axis, first), moved(a, axis, first), moved(b, axis, first), axis, out, last - first);
        return out + (last - first) * op->item;
    }
    for (int64_t i = first; i < last; i++)
        out = select_axis(op, axis + 1, moved(c, axis, i), moved(a, axis, i), moved(b, axis, i), out, 0, op->sizes[axis + 1]);
    return out;
}

void ek_select__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_select *op = raw;
    operand c = {EK_SOURCE_OF(op, condition, arena), op->condition_strides};
    operand a = {EK_SOURCE_OF(op, first, arena), op->first_strides}, b = {EK_SOURCE_OF(op, second, arena), op->second_strides};
    int64_t slice = ek_count(op->sizes + 1, op->sizes_size - 1) * op->item;
    select_axis(op, 0, c, a, b, arena + op->output + begin * slice, begin, end);
}

const char *ek_select_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_select *op = raw;
    int64_t rank_ = op->sizes_size, item = op->item, all_ = 1, low_, high_;
    CHECK(1 <= rank_ && rank_ <= EK_MAX_RANK, "an impossible number of axes");
    CHECK(op->condition_strides_size == rank_ && op->first_strides_size == rank_ && op->second_strides_size == rank_,
          "strides of another number");
    CHECK(item == 1 || item == 2 || item == 4 || item == 8, "items of another size");
    for (int64_t d = 0; d < rank_; d++) {
        CHECK(1 <= op->sizes[d] && op->sizes[d] < EK_LIMIT / all_, "impossible sizes");
        all_ *= op->sizes[d];
    }
    CHECK_RANGE(op->output, all_ * item);
    CHECK_OPERAND(op, condition, 1, item);
    CHECK(ek_extent(op->sizes, op->first_strides, rank_, item, &low_, &high_), "impossible strides");
    CHECK_SOURCE(op, first, low_, high_, 1);
    CHECK_SOURCE_APART(op, first, low_, high_, op->output, all_ * item);
    CHECK(ek_extent(op->sizes, op->second_strides, rank_, item, &low_, &high_), "impossible strides");
    CHECK_SOURCE(op, second, low_, high_, 1);
    CHECK_SOURCE_APART(op, second, low_, high_, op->output, all_ * item);
    *units = op->sizes[0];
    return NULL;
}
