/* Pools and means of planes: the definitions that every ISA level is tested against, and their checks. */

#include "check.h"
#include "margin.h"
#include "requantise.h"

/* The part of a window that lies inside the input */
typedef struct window {
    int64_t top, bottom, left, right;
} window;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static window window_at(const ek_pool_planes *op, int64_t y, int64_t x) {
    int64_t top = y * op->stride_y - op->top, left = x * op->stride_x - op->left;
    return (window){top < 0 ? 0 : top, least(top + op->window_height, op->rows), left < 0 ? 0 : left,
                    least(left + op->window_width, op->columns)};
}

static int32_t maximum(const ek_pool_planes *op, const ek_byte *in, window w) {
    int32_t most = EK_FLIP - 128;
    for (int64_t y = w.top; y < w.bottom; y++)
        for (int64_t x = w.left; x < w.right; x++) {
            int32_t value = in[EK_QUAD * (y * op->input_pitch + x)];
            most = value > most ? value : most;
        }
    return most;
}

static int32_t average(const ek_pool_planes *op, const ek_byte *in, window w) {
    int32_t sum = 0, count = (int32_t)((w.bottom - w.top) * (w.right - w.left));
    for (int64_t y = w.top; y < w.bottom; y++)
        for (int64_t x = w.left; x < w.right; x++) sum += in[EK_QUAD * (y * op->input_pitch + x)] - EK_FLIP;
    return (sum + (sum > 0 ? count / 2 : -(count / 2))) / count + EK_FLIP;
}

/* One channel of one image */
static void pool_channel(const ek_pool_planes *op, const ek_byte *in, ek_byte *out) {
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x++) {
            window w = window_at(op, y, x);
            int32_t value = op->average ? average(op, in, w) : maximum(op, in, w);
            out[EK_QUAD * (y * op->output_pitch + x)] = (ek_byte)ek_clamp(value, op->low, op->high);
        }
}

void ek_pool_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pool_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    int64_t in_image = EK_QUAD * (int64_t)op->input_period * op->input_pitch;
    int64_t out_image = EK_QUAD * (int64_t)op->period * op->output_pitch;
    for (int64_t q = begin; q < end; q++) {
        const ek_byte *in = (const ek_byte *)arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            for (int64_t c = 0; c < EK_QUAD; c++)
                pool_channel(op, in + i * in_image + c, (ek_byte *)out + i * out_image + c);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

/* Along one axis each window has a pixel of the input */
static int reaches(int64_t outputs, int64_t stride, int64_t before, int64_t size, int64_t inputs) {
    return 0 <= before && before < size && (outputs - 1) * stride - before < inputs;
}

const char *ek_pool_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_pool_planes *op = op_;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    CHECK_INPUT_PICTURE(op, op->planes, op->rows, op->columns);
    CHECK(ek_is_size(op->window_height) && ek_is_size(op->window_width), "an impossible window");
    CHECK((int64_t)op->window_height * op->window_width < 1 << 22, "an impossible window");
    CHECK(ek_is_size(op->stride_y) && ek_is_size(op->stride_x), "an impossible stride");
    CHECK(reaches(op->height, op->stride_y, op->top, op->window_height, op->rows), "a window outside the input");
    CHECK(reaches(op->width, op->stride_x, op->left, op->window_width, op->columns), "a window outside the input");
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    CHECK_CLAMP(op);
    *units = op->planes;
    return NULL;
}

/* Channel c of image i */
static int32_t sum_of(const ek_mean_planes *op, const uint8_t *arena, int64_t i, int64_t c) {
    int32_t sum = 0;
    const ek_byte *in = (const ek_byte *)arena + op->input + c / EK_QUAD * op->input_stride + c % EK_QUAD;
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x++) sum += in[EK_QUAD * ((i * op->period + y) * op->input_pitch + x)];
    return sum;
}

void ek_mean_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mean_planes *op = op_;
    for (int64_t c = begin * EK_QUAD; c < end * EK_QUAD && c < op->channels; c++)
        for (int64_t i = 0; i < op->images; i++) {
            int32_t sum = sum_of(op, arena, i, c) + op->bias;
            int32_t y = ek_multiply(sum, op->multiplier, op->shift) + op->zero_point;
            arena[op->output + i * op->channels + c] = (uint8_t)ek_clamp(y, -128, 127);
        }
}

const char *ek_mean_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_mean_planes *op = op_;
    CHECK(ek_is_size(op->images) && ek_is_size(op->height) && ek_is_size(op->width), "impossible sizes");
    CHECK(op->period >= op->height && ek_is_size(op->period), "images that overlap");
    CHECK(op->input_pitch >= op->width && ek_is_size(op->input_pitch), "rows that overlap");
    CHECK((int64_t)op->images * op->period < EK_LIMIT / op->input_pitch, "impossible sizes");
    CHECK((int64_t)op->height * op->width <= 1 << 22, "sums beyond 32 bits");
    CHECK(ek_is_size(op->channels), "impossible sizes");
    int64_t planes = (op->channels + EK_QUAD - 1) / EK_QUAD;
    CHECK_READ(op->input, op->input_stride, planes, ek_pixels(op->images, op->height, op->period, op->input_pitch));
    CHECK_RANGE(op->output, (int64_t)op->images * op->channels);
    CHECK(-(1 << 30) <= op->bias && op->bias <= 1 << 30, "an impossible bias");
    CHECK(ek_is_multiplier(op->multiplier, op->shift), "an impossible multiplier");
    CHECK(-128 <= op->zero_point && op->zero_point <= 127, "an impossible zero point");
    *units = planes;
    return NULL;
}
