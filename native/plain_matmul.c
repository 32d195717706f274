/* Products of matrices, neither of which is known before. */

#include <math.h>

#include <string.h>

#include "plain.h"
#include "requantise.h"

static void int8_row(const ek_matmul *op, const int8_t *a, const int8_t *b, int8_t *out) {
    ek_factor f = ek_factor_of(op->multiplier, op->shift);
    for (int64_t start = 0; start < op->columns; start += EK_PICKS) {
        int64_t count = ek_least(EK_PICKS, op->columns - start), step = op->second_column_stride;
        int32_t sum[EK_PICKS] = {0};
        if (op->bias_size) memcpy(sum, op->bias + start, (size_t)count * sizeof *sum);
        const int8_t *part = b + start * step;
        for (int64_t k = 0; k < op->depth; k++, part += op->second_depth_stride) {
            int32_t x = a[k * op->first_depth_stride] - op->first_zero;
            if (step == 1)
                for (int64_t n = 0; n < count; n++) sum[n] += x * (part[n] - op->second_zero);
            else
                for (int64_t n = 0; n < count; n++) sum[n] += x * (part[n * step] - op->second_zero);
        }
        for (int64_t n = 0; n < count; n++) {
            int32_t y = op->scale > 0 ? (int32_t)round(sum[n] * op->scale) : ek_times(f, sum[n]);
            out[start + n] = (int8_t)ek_clamp(y + op->zero_point, op->low, op->high);
        }
    }
}

static void float_row(const ek_matmul *op, const uint8_t *a, const uint8_t *b, float *out) {
    for (int64_t n = 0; n < op->columns; n++) {
        float sum = 0;
        const uint8_t *x = a, *y = b + n * op->second_column_stride;
        for (int64_t k = 0; k < op->depth; k++, x += op->first_depth_stride, y += op->second_depth_stride)
            sum += *(const float *)x * *(const float *)y;
        out[n] = sum;
    }
}

void ek_matmul__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_matmul *op = raw;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t batch = unit / op->rows, a = unit % op->rows * op->first_row_stride, b = 0;
        for (int64_t d = op->batches_size - 1; d >= 0; batch /= op->batches[d--]) {
            a += batch % op->batches[d] * op->first_batch_strides[d];
            b += batch % op->batches[d] * op->second_batch_strides[d];
        }
        const uint8_t *first = EK_SOURCE_OF(op, first, arena) + a, *second = EK_SOURCE_OF(op, second, arena) + b;
        if (op->type == EK_FLOAT32)
            float_row(op, first, second, (float *)(arena + op->output) + unit * op->columns);
        else
            int8_row(op, (const int8_t *)first, (const int8_t *)second, (int8_t *)arena + op->output + unit * op->columns);
    }
}

/* The bytes that an operand may reach */
static int reach(const ek_matmul *op, const int64_t *batch_strides, int64_t size, int64_t stride, int64_t other_size,
                 int64_t other_stride, int64_t *low, int64_t *high) {
    const int64_t sizes[] = {size, other_size}, strides[] = {stride, other_stride};
    int64_t more_low, more_high, item = op->type == EK_FLOAT32 ? 4 : 1;
    for (int64_t d = 0; d < op->batches_size; d++)
        if (batch_strides[d] % item) return 0;
    if (stride % item || other_stride % item) return 0;
    if (!ek_extent(op->batches, batch_strides, op->batches_size, 0, &more_low, &more_high)) return 0;
    if (!ek_extent(sizes, strides, 2, item, low, high)) return 0;
    *low += more_low, *high += more_high;
    return 1;
}

const char *ek_matmul_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_matmul *op = raw;
    int64_t rank = op->batches_size, all = 1, low, high, item = op->type == EK_FLOAT32 ? 4 : 1;
    CHECK(op->type == EK_INT8 || op->type == EK_FLOAT32, "an unknown type");
    CHECK(1 <= rank && rank <= EK_MAX_RANK, "an impossible number of axes");
    CHECK(op->first_batch_strides_size == rank && op->second_batch_strides_size == rank, "strides of another number");
    CHECK(1 <= op->depth && op->depth <= EK_MAX_DEPTH, "impossible sizes");
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->columns && op->columns < EK_LIMIT / op->rows, "impossible sizes");
    all = op->rows * op->columns;
    for (int64_t d = 0; d < rank; d++) {
        CHECK(1 <= op->batches[d] && op->batches[d] < EK_LIMIT / all, "impossible sizes");
        all *= op->batches[d];
    }
    CHECK(-31 <= op->shift && op->shift <= 30 && op->multiplier >= 0, "an impossible multiplier");
    CHECK(!op->bias_size || op->bias_size == op->columns, "a bias of another length");
    for (int64_t n = 0, room = INT32_MAX - 255 * 255 * op->depth; n < op->bias_size; n++)
        CHECK(-room <= op->bias[n] && op->bias[n] <= room, "sums beyond 32 bits");
    CHECK(op->scale >= 0 && op->scale < 1, "an impossible scale");
    CHECK(-128 <= op->low && op->low <= op->high && op->high <= 127, "an impossible clamp");
    CHECK(-128 <= op->zero_point && op->zero_point <= 127, "an impossible zero point");
    CHECK(-128 <= op->first_zero && op->first_zero <= 127, "an impossible zero point");
    CHECK(-128 <= op->second_zero && op->second_zero <= 127, "an impossible zero point");
    all *= item;
    CHECK_RANGE(op->output, all);
    CHECK_ALIGNED(op->output, item);
    CHECK(reach(op, op->first_batch_strides, op->rows, op->first_row_stride, op->depth, op->first_depth_stride, &low, &high),
          "impossible strides");
    CHECK_SOURCE(op, first, low, high, item);
    CHECK_SOURCE_APART(op, first, low, high, op->output, all);
    CHECK(reach(op, op->second_batch_strides, op->depth, op->second_depth_stride, op->columns, op->second_column_stride, &low,
                &high), "impossible strides");
    CHECK_SOURCE(op, second, low, high, item);
    CHECK_SOURCE_APART(op, second, low, high, op->output, all);
    *units = all / item / op->columns;
    return NULL;
}
