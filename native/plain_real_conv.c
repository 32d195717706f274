/* Convolutions of float32: the layers of a network of bytes for which bytes are too coarse. */

#include "plain.h"

/* Adds the products of `count` channels from `start` on with what they see of an input pixel. */
static void add_products(const ek_real_conv *op, const float *in, const float *weights, float *sum, int64_t start, int64_t count) {
    const int64_t each = op->each, channels = op->channels, of_group = channels * each / op->depth;
    for (int64_t k = 0; k < each; k++, weights += channels)
        if (of_group == channels)
            for (int64_t c = 0; c < count; c++) sum[c] += in[k] * weights[c];
        else if (of_group == 1)
            for (int64_t c = 0; c < count; c++) sum[c] += in[(start + c) * each + k] * weights[c];
        else
            for (int64_t c = 0; c < count; c++) sum[c] += in[(start + c) / of_group * each + k] * weights[c];
}

static void convolve_pixel(const ek_real_conv *op, const float *in, int64_t y, int64_t x, float *out) {
    for (int64_t start = 0; start < op->channels; start += EK_PICKS) {
        const int64_t count = ek_least(EK_PICKS, op->channels - start);
        float sum[EK_PICKS] = {0};
        for (int64_t ky = 0; ky < op->window_height; ky++) {
            const int64_t row = y * op->stride_y - op->top + ky * op->dilation_y;
            for (int64_t kx = 0; row >= 0 && row < op->rows && kx < op->window_width; kx++) {
                const int64_t column = x * op->stride_x - op->left + kx * op->dilation_x;
                const float *weights = op->weights + (ky * op->window_width + kx) * op->each * op->channels + start;
                if (column >= 0 && column < op->columns)
                    add_products(op, in + (row * op->columns + column) * op->depth, weights, sum, start, count);
            }
        }
        for (int64_t c = 0; c < count; c++) {
            const float y_ = sum[c] + op->bias[start + c], least = y_ < op->low ? op->low : y_;
            out[start + c] = least > op->high ? op->high : least;
        }
    }
}

void ek_real_conv__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_real_conv *op = raw;
    const int64_t pixels = (int64_t)op->height * op->width, picture = (int64_t)op->rows * op->columns * op->depth;
    const float *in = (const float *)EK_SOURCE_OF(op, input, arena);
    float *out = (float *)(arena + op->output);
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t pixel = unit % pixels;
        convolve_pixel(op, in + unit / pixels * picture, pixel / op->width, pixel % op->width, out + unit * op->channels);
    }
}

const char *ek_real_conv_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_real_conv *op = raw;
    int64_t in = op->images, out = op->images, weights = 1, limit = 1 << 20;
    const int32_t ins[] = {op->rows, op->columns, op->depth}, outs[] = {op->height, op->width, op->channels};
    const int32_t window[] = {op->window_height, op->window_width, op->each, op->channels};
    const int32_t steps[] = {op->stride_y, op->stride_x, op->dilation_y, op->dilation_x};
    CHECK(0 < op->images && op->images < limit, "impossible sizes");
    for (int i = 0; i < 3; i++) {
        CHECK(ins[i] > 0 && outs[i] > 0 && ins[i] < EK_LIMIT / in && outs[i] < EK_LIMIT / out, "impossible sizes");
        in *= ins[i], out *= outs[i];
    }
    for (int i = 0; i < 4; i++) {
        CHECK(window[i] > 0 && window[i] < EK_LIMIT / weights, "impossible sizes");
        weights *= window[i];
    }
    for (int i = 0; i < 4; i++) CHECK(0 < steps[i] && steps[i] < limit, "impossible strides");
    CHECK(-limit < op->top && op->top < limit && -limit < op->left && op->left < limit, "impossible margins");
    CHECK(op->depth % op->each == 0 && op->channels % (op->depth / op->each) == 0, "groups that do not fit");
    CHECK(op->weights_size == weights, "weights of another size");
    CHECK(op->bias_size == op->channels, "a bias of another length");
    CHECK(op->low <= op->high, "an impossible clamp");
    CHECK_SOURCE(op, input, 0, 4 * in, 4);
    CHECK_RANGE(op->output, 4 * out);
    CHECK_ALIGNED(op->output, 4);
    CHECK_SOURCE_APART(op, input, 0, 4 * in, op->output, 4 * out);
    *units = out / op->channels;
    return NULL;
}
