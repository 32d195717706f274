/* Bilinear sampling of plain images. */

#include <math.h>

#include "plain.h"

/* The four pixels around a point, and how far it is from the first */
typedef struct corners {
    int64_t top_left, top_right, bottom_left, bottom_right;
    float down, across;
} corners;

static void sample_int8(const int8_t *in, corners c, int8_t *out, int64_t channels) {
    int32_t down = (int32_t)c.down, across = (int32_t)c.across, up = 1024 - down, back = 1024 - across;
    for (int64_t i = 0; i < channels; i++) {
        int32_t sum = in[c.top_left + i] * up * back + in[c.bottom_left + i] * down * back +
                      in[c.top_right + i] * up * across + in[c.bottom_right + i] * down * across;
        out[i] = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
    }
}

static float kept(float x) {
    return x;
}

#define SAMPLE(name, type, round)                                                                                      \
    static void sample_##name(const type *in, corners c, type *out, int64_t channels) {                         \
        float up = 1 - c.down, back = 1 - c.across;                                                             \
        for (int64_t i = 0; i < channels; i++)                                                                  \
            out[i] = (type)round((float)in[c.top_left + i] * up * back + (float)in[c.bottom_left + i] * c.down * back + \
                            (float)in[c.top_right + i] * up * c.across +                                        \
                            (float)in[c.bottom_right + i] * c.down * c.across);                                 \
    }
SAMPLE(float, float, kept)
SAMPLE(uint8, uint8_t, roundf)

static void sample(const ek_bilinear *op, const uint8_t *in, corners c, uint8_t *out) {
    if (op->type == EK_FLOAT32)
        sample_float((const float *)in, c, (float *)out, op->channels);
    else if (op->type == EK_INT8)
        sample_int8((const int8_t *)in, c, (int8_t *)out, op->channels);
    else
        sample_uint8(in, c, out, op->channels);
}

static int64_t size_of(int type) {
    return type == EK_FLOAT32 ? 4 : 1;
}

void ek_bilinear__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_bilinear *op = raw;
    int64_t height = op->row_first_size, width = op->column_first_size, pixel = op->channels * size_of(op->type);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t y = unit % height, row = op->columns;
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + unit / height * op->rows * op->columns * pixel;
        for (int64_t x = 0; x < width; x++) {
            int64_t top = op->row_first[y] * row, bottom = op->row_second[y] * row;
            int64_t left = op->column_first[x], right = op->column_second[x], channels = op->channels;
            corners c = {(top + left) * channels, (top + right) * channels, (bottom + left) * channels,
                         (bottom + right) * channels, op->row_weight[y], op->column_weight[x]};
            sample(op, in, c, arena + op->output + (unit * width + x) * pixel);
        }
    }
}

static int are_inside(const int32_t *numbers, int64_t count, int32_t size) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i] < 0 || numbers[i] >= size) return 0;
    return 1;
}

/* That int8 sums stay within 32 bits, and uint8 results within their type */
static int are_weights(const float *weights, int64_t count, int type) {
    for (int64_t i = 0; i < count; i++)
        if (!(type == EK_INT8 ? weights[i] >= -512 && weights[i] <= 1536 : weights[i] >= -1 && weights[i] <= 2)) return 0;
    return 1;
}

const char *ek_bilinear_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_bilinear *op = raw;
    int64_t in = op->images, out = op->images, item = size_of(op->type), height = op->row_first_size, width = op->column_first_size;
    CHECK(op->type == EK_FLOAT32 || op->type == EK_INT8 || op->type == EK_UINT8, "an unknown type");
    CHECK(op->row_second_size == height && op->row_weight_size == height, "rows of another number");
    CHECK(op->column_second_size == width && op->column_weight_size == width, "columns of another number");
    const int64_t ins[] = {op->rows, op->columns, op->channels}, outs[] = {height, width, op->channels};
    CHECK(op->images > 0, "impossible sizes");
    for (int i = 0; i < 3; i++) {
        CHECK(ins[i] > 0 && outs[i] > 0 && ins[i] < EK_LIMIT / in && outs[i] < EK_LIMIT / out, "impossible sizes");
        in *= ins[i], out *= outs[i];
    }
    CHECK(are_inside(op->row_first, height, op->rows) && are_inside(op->row_second, height, op->rows), "a row outside");
    CHECK(are_inside(op->column_first, width, op->columns), "a column outside");
    CHECK(are_inside(op->column_second, width, op->columns), "a column outside");
    CHECK(are_weights(op->row_weight, height, op->type), "an impossible weight");
    CHECK(are_weights(op->column_weight, width, op->type), "an impossible weight");
    CHECK_SOURCE(op, input, 0, in * item, item);
    CHECK_RANGE(op->output, out * item);
    CHECK_ALIGNED(op->output, item);
    CHECK_SOURCE_APART(op, input, 0, in * item, op->output, out * item);
    *units = op->images * height;
    return NULL;
}
