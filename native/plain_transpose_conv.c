/* Transposed convolutions of plain int8 pictures, from the output's side: which input pixels add to a pixel. */

#include "plain.h"
#include "requantise.h"

/* Adds the products of an input pixel with `count` channels of the weights at one place of the window. */
static void add_products(const ek_transpose_conv *op, const int8_t *in, const int16_t *weights, int32_t *sum, int64_t count) {
    for (int64_t d = 0; d < op->depth; d++, weights += op->channels) {
        int32_t x = in[d] - op->input_zero_point;
        for (int64_t c = 0; c < count; c++) sum[c] += x * weights[c];
    }
}

/* The input row or column that meets output place `at` at place `tap` of the window; -1 if none does. */
static int64_t source_of(int64_t at, int64_t tap, int64_t stride, int64_t size) {
    int64_t place = at - tap;
    return place >= 0 && place % stride == 0 && place / stride < size ? place / stride : -1;
}

static void convolve_pixel(const ek_transpose_conv *op, const int8_t *in, int64_t y, int64_t x, int8_t *out) {
    for (int64_t start = 0; start < op->channels; start += EK_PICKS) {
        int64_t count = ek_least(EK_PICKS, op->channels - start);
        int32_t sum[EK_PICKS] = {0};
        for (int64_t ky = 0; ky < op->window_height; ky++) {
            int64_t row = source_of(y + op->top, ky, op->stride_y, op->rows);
            for (int64_t kx = 0; row >= 0 && kx < op->window_width; kx++) {
                int64_t column = source_of(x + op->left, kx, op->stride_x, op->columns);
                const int16_t *weights = op->weights + (ky * op->window_width + kx) * op->depth * op->channels + start;
                if (column >= 0) add_products(op, in + (row * op->columns + column) * op->depth, weights, sum, count);
            }
        }
        for (int64_t c = start; c < start + count; c++) {
            int32_t y_ = ek_multiply(sum[c - start] + op->bias[c], op->multiplier[c], op->shift[c]) + op->zero_point;
            out[c] = (int8_t)ek_clamp(y_, op->low, op->high);
        }
    }
}

void ek_transpose_conv__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_transpose_conv *op = raw;
    for (int64_t unit = begin; unit < end; unit++) {
        const int8_t *in = (const int8_t *)EK_SOURCE_OF(op, input, arena) + unit / op->height * op->rows * op->columns * op->depth;
        int8_t *out = (int8_t *)arena + op->output + unit * op->width * op->channels;
        for (int64_t x = 0; x < op->width; x++) convolve_pixel(op, in, unit % op->height, x, out + x * op->channels);
    }
}

const char *ek_transpose_conv_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_transpose_conv *op = raw;
    int64_t in = op->images, out = op->images, weights = 1, limit = 1 << 20;
    const int32_t ins[] = {op->rows, op->columns, op->depth}, outs[] = {op->height, op->width, op->channels};
    const int32_t window[] = {op->window_height, op->window_width, op->depth, op->channels};
    CHECK(0 < op->images && op->images < limit, "impossible sizes");
    for (int i = 0; i < 3; i++) {
        CHECK(ins[i] > 0 && outs[i] > 0 && ins[i] < EK_LIMIT / in && outs[i] < EK_LIMIT / out, "impossible sizes");
        in *= ins[i], out *= outs[i];
    }
    for (int i = 0; i < 4; i++) {
        CHECK(window[i] > 0 && window[i] < EK_LIMIT / weights, "impossible sizes");
        weights *= window[i];
    }
    CHECK(0 < op->stride_y && op->stride_y < limit && 0 < op->stride_x && op->stride_x < limit, "impossible strides");
    CHECK((int64_t)op->depth * ((op->window_height - 1) / op->stride_y + 1) * ((op->window_width - 1) / op->stride_x + 1) <=
              EK_MAX_DEPTH >> 1,
          "sums beyond 32 bits");
    CHECK(-limit < op->top && op->top < limit && -limit < op->left && op->left < limit, "impossible margins");
    CHECK(op->weights_size == weights, "weights of another size");
    CHECK(op->bias_size == op->channels && op->multiplier_size == op->channels && op->shift_size == op->channels,
          "factors of another number");
    for (int64_t c = 0; c < op->channels; c++)
        CHECK(-31 <= op->shift[c] && op->shift[c] <= 30 && op->multiplier[c] >= 0, "an impossible multiplier");
    CHECK(-128 <= op->input_zero_point && op->input_zero_point <= 127, "an impossible zero point");
    CHECK(-128 <= op->zero_point && op->zero_point <= 127, "an impossible zero point");
    CHECK(-128 <= op->low && op->low <= op->high && op->high <= 127, "an impossible clamp");
    CHECK_SOURCE(op, input, 0, in, 1);
    CHECK_RANGE(op->output, out);
    CHECK_SOURCE_APART(op, input, 0, in, op->output, out);
    *units = (int64_t)op->images * op->height;
    return NULL;
}
