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

static int32_t average(const ek_pool_planes *op, const ek_byte *in, window w) {
    int32_t sum = 0, count = (int32_t)((w.bottom - w.top) * (w.right - w.left));
    for (int64_t y = w.top; y < w.bottom; y++)
        for (int64_t x = w.left; x < w.right; x++) sum += in[EK_QUAD * (y * op->input_pitch + x)] - EK_FLIP;
    return (sum + (sum > 0 ? count / 2 : -(count / 2))) / count + EK_FLIP;
}

/* Channel c of the average of one image */
static void average_channel(const ek_pool_planes *op, const ek_byte *in, ek_byte *out) {
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x++) {
            int32_t value = average(op, in, window_at(op, y, x));
            out[EK_QUAD * (y * op->output_pitch + x)] = (ek_byte)ek_clamp(value, op->low, op->high);
        }
}

static void keep_larger(ek_byte *most, const ek_byte *other, int64_t count) {
    for (int64_t i = 0; i < count; i++) most[i] = other[i] > most[i] ? other[i] : most[i];
}

/* The largest of each column of the rows that output row y sees, for input columns [from, from + count), and the least
   of all values for those that do not exist */
static void largest_of_columns(const ek_pool_planes *op, const ek_byte *in, int64_t y, int64_t from, int64_t count,
                               ek_byte *most) {
    window w = window_at(op, y, 0);
    int64_t first = from < 0 ? -from : 0, last = least(count, op->columns - from);
    memset(most, (uint8_t)(EK_FLIP - 128), (size_t)(EK_QUAD * count));
    for (int64_t row = w.top; row < w.bottom; row++)
        if (first < last)
            keep_larger(most + EK_QUAD * first, in + EK_QUAD * (row * op->input_pitch + from + first),
                        EK_QUAD * (last - first));
}

/* Output pixels [x, x + count) of a row, from the largest of the columns that they see */
static void largest_of_windows(const ek_pool_planes *op, const ek_byte *columns, int64_t count, ek_byte *out) {
    for (int64_t i = 0; i < count; i++) {
        const ek_byte *seen = columns + EK_QUAD * i * op->stride_x;
        ek_byte most[EK_QUAD];
        memcpy(most, seen, EK_QUAD);
        for (int64_t k = 1; k < op->window_width; k++) keep_larger(most, seen + EK_QUAD * k, EK_QUAD);
        for (int64_t c = 0; c < EK_QUAD; c++) out[EK_QUAD * i + c] = (ek_byte)ek_clamp(most[c], op->low, op->high);
    }
}

enum { PIECE = 512 }; /* columns that are looked at together */

static void maximum_of_image(const ek_pool_planes *op, const ek_byte *in, ek_byte *out) {
    ek_byte columns[EK_QUAD * PIECE];
    int64_t fits = op->window_width < PIECE ? (PIECE - op->window_width) / op->stride_x + 1 : 0;
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x += fits) {
            int64_t count = least(fits, op->width - x), seen = (count - 1) * op->stride_x + op->window_width;
            largest_of_columns(op, in, y, x * op->stride_x - op->left, seen, columns);
            largest_of_windows(op, columns, count, out + EK_QUAD * (y * op->output_pitch + x));
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
        for (int64_t i = 0; i < op->images; i++, in += in_image)
            if (op->average)
                for (int64_t c = 0; c < EK_QUAD; c++) average_channel(op, in + c, (ek_byte *)out + i * out_image + c);
            else
                maximum_of_image(op, in, (ek_byte *)out + i * out_image);
        ek_fill_plane(&margins, out);
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
    CHECK(op->average || op->window_width < PIECE, "a window that is too wide");
    CHECK(ek_is_size(op->stride_y) && ek_is_size(op->stride_x), "an impossible stride");
    CHECK(reaches(op->height, op->stride_y, op->top, op->window_height, op->rows), "a window outside the input");
    CHECK(reaches(op->width, op->stride_x, op->left, op->window_width, op->columns), "a window outside the input");
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    CHECK_CLAMP(op);
    *units = op->planes;
    return NULL;
}

/* Sums of the four channels of a plane of image i */
static void sums_of(const ek_mean_planes *op, const ek_byte *in, int64_t i, int32_t sums[EK_QUAD]) {
    for (int64_t c = 0; c < EK_QUAD; c++) sums[c] = op->bias;
    for (int64_t y = 0; y < op->height; y++) {
        const ek_byte *row = in + EK_QUAD * (i * op->period + y) * op->input_pitch;
        for (int64_t x = 0; x < op->width; x++)
            for (int64_t c = 0; c < EK_QUAD; c++) sums[c] += row[EK_QUAD * x + c];
    }
}

void ek_mean_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mean_planes *op = op_;
    for (int64_t q = begin; q < end; q++)
        for (int64_t i = 0; i < op->images; i++) {
            int32_t sums[EK_QUAD];
            sums_of(op, (const ek_byte *)arena + op->input + q * op->input_stride, i, sums);
            for (int64_t c = q * EK_QUAD; c < (q + 1) * EK_QUAD && c < op->channels; c++) {
                int32_t y = ek_multiply(sums[c % EK_QUAD], op->multiplier, op->shift) + op->zero_point;
                arena[op->output + i * op->channels + c] = (uint8_t)ek_clamp(y, -128, 127);
            }
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
