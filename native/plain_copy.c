/* Strided copies: all data movement of plain tensors. */

#include <string.h>

#include "plain.h"

typedef void line_fn(const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, int64_t count);

#define LINE(bytes)                                                                                             \
    static void line_##bytes(const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, int64_t count) { \
        for (int64_t i = 0; i < count; i++) memcpy(out + i * out_stride, in + i * in_stride, bytes);            \
    }
LINE(1)
LINE(2)
LINE(3)
LINE(4)
LINE(8)
LINE(16)

static void copy_line(const ek_copy *op, int64_t axis, const uint8_t *in, uint8_t *out, int64_t count) {
    static line_fn *const lines[] = {[1] = line_1, [2] = line_2, [3] = line_3, [4] = line_4, [8] = line_8, [16] = line_16};
    int64_t in_stride = op->input_strides[axis], out_stride = op->output_strides[axis], run = op->run;
    if (run == 1 && in_stride == 0 && out_stride == 1)
        memset(out, *in, (size_t)count);
    else if (run <= 16 && lines[run])
        lines[run](in, in_stride, out, out_stride, count);
    else
        for (int64_t i = 0; i < count; i++) memcpy(out + i * out_stride, in + i * in_stride, (size_t)run);
}

/* One step of the transposition of 8 x 8 bytes, a row a word: swaps blocks that lie `shift` bits from the diagonal. */
static void swap_blocks(uint64_t *a, uint64_t *b, int shift, uint64_t mask) {
    uint64_t swapped = ((*a >> shift) ^ *b) & mask;
    *b ^= swapped;
    *a ^= swapped << shift;
}

static void transpose_8x8(const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride) {
    uint64_t row[8];
    for (int i = 0; i < 8; i++) memcpy(&row[i], in + i * in_stride, 8);
    for (int i = 0; i < 4; i++) swap_blocks(&row[i], &row[i + 4], 32, 0x00000000ffffffff);
    for (int i = 0; i < 8; i += i % 4 ? 3 : 1) swap_blocks(&row[i], &row[i + 2], 16, 0x0000ffff0000ffff);
    for (int i = 0; i < 8; i += 2) swap_blocks(&row[i], &row[i + 1], 8, 0x00ff00ff00ff00ff);
    for (int i = 0; i < 8; i++) memcpy(out + i * out_stride, &row[i], 8);
}

/* out[r][c] = in[c][r] on bytes, both contiguous along their last axis, by blocks of 64 input rows that stay cached. */
static void transpose_bytes(const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, int64_t rows,
                            int64_t columns) {
    for (int64_t start = 0; start < columns; start += 64) {
        int64_t end = ek_least(start + 64, columns), whole = start + (end - start) / 8 * 8, r = 0;
        for (; r + 8 <= rows; r += 8) {
            for (int64_t c = start; c < whole; c += 8)
                transpose_8x8(in + c * in_stride + r, in_stride, out + r * out_stride + c, out_stride);
            for (int64_t i = r; i < r + 8; i++) line_1(in + whole * in_stride + i, in_stride, out + i * out_stride + whole, 1, end - whole);
        }
        for (; r < rows; r++) line_1(in + start * in_stride + r, in_stride, out + r * out_stride + start, 1, end - start);
    }
}

static int is_transposition(const ek_copy *op, int64_t axis) {
    return op->run == 1 && axis + 2 == op->sizes_size && op->input_strides[axis] == 1 && op->output_strides[axis + 1] == 1;
}

/* Indices [first, last) of an axis, and all of the axes behind it. */
static void copy_axis(const ek_copy *op, int64_t axis, const uint8_t *in, uint8_t *out, int64_t first, int64_t last) {
    in += first * op->input_strides[axis];
    out += first * op->output_strides[axis];
    if (axis + 1 == op->sizes_size)
        copy_line(op, axis, in, out, last - first);
    else if (is_transposition(op, axis))
        transpose_bytes(in, op->input_strides[axis + 1], out, op->output_strides[axis], last - first, op->sizes[axis + 1]);
    else
        for (int64_t i = first; i < last; i++, in += op->input_strides[axis], out += op->output_strides[axis])
            copy_axis(op, axis + 1, in, out, 0, op->sizes[axis + 1]);
}

void ek_copy__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_copy *op = raw;
    copy_axis(op, 0, EK_SOURCE_OF(op, input, arena), arena + op->output, begin, end);
}

const char *ek_copy_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_copy *op = raw;
    int64_t rank = op->sizes_size, low, high, in_low, in_high;
    CHECK(1 <= rank && rank <= EK_MAX_RANK, "an impossible number of axes");
    CHECK(op->input_strides_size == rank && op->output_strides_size == rank, "strides of another number");
    CHECK(1 <= op->run && op->run < EK_LIMIT, "impossible sizes");
    CHECK(ek_extent(op->sizes, op->input_strides, rank, op->run, &in_low, &in_high), "impossible sizes");
    CHECK(ek_extent(op->sizes, op->output_strides, rank, op->run, &low, &high), "impossible sizes");
    CHECK_SOURCE(op, input, in_low, in_high, 1);
    CHECK(ek_inside(op->output, 0, arena_bytes), "a tensor outside the arena");
    CHECK_RANGE(op->output + low, high - low);
    CHECK_SOURCE_APART(op, input, in_low, in_high, op->output + low, high - low);
    *units = op->sizes[0];
    return NULL;
}
