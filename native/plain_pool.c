/* Maximum and average over windows of plain images. */

#include "plain.h"

/* The part of a window that lies inside the picture */
typedef struct window {
    int64_t top, bottom, left, right;
} window;

static int32_t average_int8(int32_t sum, int32_t count) {
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static int32_t average_uint8(int32_t sum, int32_t count) {
    return (sum + count / 2) / count;
}

static float average_float(float sum, int32_t count) {
    return sum / (float)count;
}

/* `count` channels of an output pixel */
#define POOL(name, type, sum_type)                                                                                \
    static void pool_##name(const ek_pool *op, const type *in, window w, type *out, int64_t count) {              \
        sum_type total[EK_PICKS], low = (sum_type)op->low, high = (sum_type)op->high;                             \
        int32_t pixels = (int32_t)((w.bottom - w.top) * (w.right - w.left));                                      \
        const type *start = in + (w.top * op->columns + w.left) * op->channels;                                   \
        for (int64_t i = 0; i < count; i++) total[i] = op->average ? 0 : start[i];                                \
        for (int64_t y = w.top; y < w.bottom; y++)                                                                \
            for (int64_t x = w.left; x < w.right; x++) {                                                          \
                const type *from = in + (y * op->columns + x) * op->channels;                                     \
                if (op->average)                                                                                  \
                    for (int64_t i = 0; i < count; i++) total[i] += from[i];                                      \
                else                                                                                              \
                    for (int64_t i = 0; i < count; i++) total[i] = from[i] > total[i] ? from[i] : total[i];       \
            }                                                                                                     \
        for (int64_t i = 0; i < count; i++) {                                                                     \
            sum_type y = op->average ? average_##name(total[i], pixels) : total[i];                               \
            out[i] = (type)(y < low ? low : y > high ? high : y);                                                 \
        }                                                                                                         \
    }
POOL(float, float, float)
POOL(int8, int8_t, int32_t)
POOL(uint8, uint8_t, int32_t)

static int64_t size_of(int type) {
    return type == EK_FLOAT32 ? 4 : 1;
}

static void pool_pixel(const ek_pool *op, const uint8_t *in, window w, uint8_t *out) {
    int64_t item = size_of(op->type);
    for (int64_t c = 0; c < op->channels; c += EK_PICKS, in += EK_PICKS * item, out += EK_PICKS * item) {
        int64_t count = ek_least(EK_PICKS, op->channels - c);
        if (op->type == EK_FLOAT32)
            pool_float(op, (const float *)in, w, (float *)out, count);
        else if (op->type == EK_INT8)
            pool_int8(op, (const int8_t *)in, w, (int8_t *)out, count);
        else
            pool_uint8(op, in, w, out, count);
    }
}

void ek_pool__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pool *op = raw;
    int64_t pixel = op->channels * size_of(op->type);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t y = unit % op->height * op->stride_y - op->top;
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + unit / op->height * op->rows * op->columns * pixel;
        uint8_t *out = arena + op->output + unit * op->width * pixel;
        for (int64_t x = 0; x < op->width; x++) {
            int64_t left = x * op->stride_x - op->left;
            window w = {y < 0 ? 0 : y, ek_least(y + op->window_height, op->rows), left < 0 ? 0 : left,
                        ek_least(left + op->window_width, op->columns)};
            pool_pixel(op, in, w, out + x * pixel);
        }
    }
}

/* Whether each window along an axis has a part inside */
static int all_meet(int64_t outputs, int64_t stride, int64_t before, int64_t window, int64_t size) {
    return stride > 0 && before >= 0 && before < window && (outputs - 1) * stride - before < size;
}

const char *ek_pool_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_pool *op = raw;
    int64_t in = op->images, out = op->images, item = size_of(op->type);
    CHECK(op->type == EK_FLOAT32 || op->type == EK_INT8 || op->type == EK_UINT8, "an unknown type");
    const int32_t ins[] = {op->rows, op->columns, op->channels}, outs[] = {op->height, op->width, op->channels};
    CHECK(op->images > 0 && op->window_height > 0 && op->window_width > 0, "impossible sizes");
    CHECK((int64_t)op->window_height * op->window_width < EK_LIMIT >> 8, "impossible sizes");
    for (int i = 0; i < 3; i++) {
        CHECK(ins[i] > 0 && outs[i] > 0 && ins[i] < EK_LIMIT / in && outs[i] < EK_LIMIT / out, "impossible sizes");
        in *= ins[i], out *= outs[i];
    }
    CHECK(all_meet(op->height, op->stride_y, op->top, op->window_height, op->rows), "a window outside the picture");
    CHECK(all_meet(op->width, op->stride_x, op->left, op->window_width, op->columns), "a window outside the picture");
    CHECK_SOURCE(op, input, 0, in * item, item);
    CHECK_RANGE(op->output, out * item);
    CHECK_ALIGNED(op->output, item);
    CHECK_SOURCE_APART(op, input, 0, in * item, op->output, out * item);
    *units = (int64_t)op->images * op->height;
    return NULL;
}
