/* Pools and means of planes: the definitions that every ISA level is tested against, and their checks. */

#define TARGET

#include "check.h"
#include "pooling.h"

void ek_pool_planes__scalar(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    pool(op, arena, begin, end);
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
