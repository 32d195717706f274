/* Sums, products and tables on planes: the definitions that every ISA level is tested against, and their checks. */

#include "check.h"
#include "margin.h"
#include "requantise.h"

static int32_t add_exactly(const ek_add_planes *op, int32_t a, int32_t b) {
    int32_t x = ek_multiply((a - op->first_zero) * (1 << 20), op->first_weight, op->first_shift);
    int32_t y = ek_multiply((b - op->second_zero) * (1 << 20), op->second_weight, op->second_shift);
    return ek_multiply(op->subtract ? x - y : x + y, op->multiplier, op->shift) + op->zero_point;
}

static int32_t add(const ek_add_planes *op, int32_t a, int32_t b) {
    if (op->exact) return add_exactly(op, a, b);
    return (a * op->first_weight + b * op->second_weight + op->bias) >> op->shift;
}

void ek_add_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_add_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const ek_byte *first = (const ek_byte *)arena + op->first + q * op->first_stride;
        const ek_byte *second = (const ek_byte *)arena + op->second + q * op->second_stride;
        ek_byte *out = (ek_byte *)arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < EK_QUAD * margins.pixels; i++)
            out[i] = (ek_byte)ek_clamp(add(op, first[i], second[i]), op->low, op->high);
        ek_restore_margins(&margins, (uint8_t *)out, 0, margins.pixels);
    }
}

static const char *check_exact_sum(const ek_add_planes *op) {
    CHECK(ek_is_stored(op->first_zero) && ek_is_stored(op->second_zero), "an impossible zero point");
    CHECK(ek_is_multiplier(op->first_weight, op->first_shift) && op->first_shift <= 0, "an impossible multiplier");
    CHECK(ek_is_multiplier(op->second_weight, op->second_shift) && op->second_shift <= 0, "an impossible multiplier");
    CHECK(ek_is_multiplier(op->multiplier, op->shift) && op->shift <= 0, "an impossible multiplier");
    return NULL;
}

static const char *check_fast_sum(const ek_add_planes *op) {
    CHECK(-32768 <= op->first_weight && op->first_weight <= 32767, "an impossible weight");
    CHECK(-32768 <= op->second_weight && op->second_weight <= 32767, "an impossible weight");
    CHECK(-(1 << 30) <= op->bias && op->bias <= 1 << 30, "an impossible bias");
    CHECK(0 <= op->shift && op->shift <= 30, "an impossible shift");
    return NULL;
}

const char *ek_add_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_add_planes *op = op_;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    int64_t pixels = ek_pixels(op->images, op->height, op->period, op->output_pitch);
    CHECK_READ(op->first, op->first_stride, op->planes, pixels);
    CHECK_READ(op->second, op->second_stride, op->planes, pixels);
    CHECK_CLAMP(op);
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    *units = op->planes;
    return op->exact ? check_exact_sum(op) : check_fast_sum(op);
}

static int32_t multiply(const ek_mul_planes *op, int32_t a, int32_t b) {
    int32_t product = (a - op->first_zero) * (b - op->second_zero);
    int32_t y = op->exact ? ek_multiply(product, op->multiplier, op->shift) + op->zero_point
                          : ek_scale(product, op->scale, op->zero_point);
    return ek_clamp(y, op->low, op->high);
}

/* Rows of one image, from pixel 0 of `first` and `out` on */
static void multiply_image(const ek_mul_planes *op, const ek_byte *first, const ek_byte *second, ek_byte *out) {
    for (int64_t i = 0; i < EK_QUAD * (int64_t)op->height * op->output_pitch; i++)
        out[i] = (ek_byte)multiply(op, first[i], second[op->second_step ? i % EK_QUAD : i]);
}

void ek_mul_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mul_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    int64_t image = EK_QUAD * (int64_t)op->period * op->output_pitch;
    int64_t step = op->second_step ? EK_QUAD * (int64_t)op->second_step : image;
    for (int64_t q = begin; q < end; q++) {
        const ek_byte *first = (const ek_byte *)arena + op->first + q * op->first_stride;
        const ek_byte *second = (const ek_byte *)arena + op->second + q * op->second_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            multiply_image(op, first + i * image, second + i * step, (ek_byte *)out + i * image);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

const char *ek_mul_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_mul_planes *op = op_;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    int64_t pixels = ek_pixels(op->images, op->height, op->period, op->output_pitch);
    CHECK_READ(op->first, op->first_stride, op->planes, pixels);
    CHECK(0 <= op->second_step && op->images * (int64_t)op->second_step < EK_LIMIT, "an impossible step");
    int64_t others = op->second_step ? (op->images - 1) * (int64_t)op->second_step + 1 : pixels;
    CHECK_READ(op->second, op->second_stride, op->planes, others);
    CHECK(ek_is_stored(op->first_zero) && ek_is_stored(op->second_zero), "an impossible zero point");
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    CHECK(op->exact ? ek_is_multiplier(op->multiplier, op->shift) : ek_is_scale(op->scale, 65536), "an impossible scale");
    CHECK_CLAMP(op);
    *units = op->planes;
    return NULL;
}

void ek_lut_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_lut_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < EK_QUAD * margins.pixels; i++) out[i] = op->table_size ? op->table[in[i]] : in[i];
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

const char *ek_lut_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_lut_planes *op = op_;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    CHECK(op->input_pitch == op->output_pitch, "rows of another length");
    CHECK_READ(op->input, op->input_stride, op->planes,
               ek_pixels(op->images, op->height, op->period, op->output_pitch));
    CHECK(op->table_size == 0 || op->table_size == 256, "another number of entries");
    CHECK(op->pieces_size == 0 || (op->pieces_size == EK_PIECES && op->table_size), "another number of pieces");
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    *units = op->planes;
    return NULL;
}
