/* What the checks of the families share. A check reads the numbers of a struct that nobody has vouched for, so each
   is bounded before it is multiplied: places and sizes stay below EK_LIMIT, products of two within 64 bits. */

#ifndef EK_CHECK_H
#define EK_CHECK_H

#include <stddef.h>

#include "ops.h"

#define EK_LIMIT (INT64_C(1) << 31) /* of sizes and counts */

#define CHECK(true_, what) \
    do {                   \
        if (!(true_)) return what; \
    } while (0)

static inline int ek_inside(int64_t place, int64_t size, int64_t arena_bytes) {
    return 0 <= place && place <= arena_bytes && 0 <= size && size <= arena_bytes - place;
}

static inline int ek_apart(int64_t a, int64_t a_size, int64_t b, int64_t b_size) {
    return a + a_size <= b || b + b_size <= a;
}

#define CHECK_RANGE(place, size) CHECK(ek_inside(place, size, arena_bytes), "a tensor outside the arena")
#define CHECK_APART(a, a_size, b, b_size) \
    CHECK(ek_apart(a, a_size, b, b_size), "a step whose input and output overlap")

/* The pixels of a picture, margins between images included, those before the first and after the last not. */
static inline int64_t ek_pixels(int64_t images, int64_t height, int64_t period, int64_t pitch) {
    return ((images - 1) * period + height) * pitch;
}

static inline int ek_is_size(int64_t n) {
    return 0 < n && n < (1 << 24);
}

/* Planes of `pixels` pixels, with margins and slack, from the first byte to the last that may be touched */
static inline int ek_planes_inside(int64_t base, int64_t stride, int64_t planes, int64_t pixels, int64_t before,
                                   int64_t after, int64_t arena_bytes) {
    if (base < 0 || base > arena_bytes || stride < 0 || stride > arena_bytes || planes < 1 || planes > EK_LIMIT) return 0;
    if (before < 0 || after < 0 || pixels < 0 || pixels > EK_LIMIT || before > EK_LIMIT || after > EK_LIMIT) return 0;
    if (stride && planes - 1 > arena_bytes / stride) return 0;
    return base >= EK_QUAD * before &&
           base + (planes - 1) * stride + EK_QUAD * (pixels + after) + EK_SLACK <= arena_bytes;
}

/* The picture of an operation, and the planes that hold it: sane sizes, and all inside the arena. */
#define CHECK_PICTURE(op, planes_)                                                                        \
    do {                                                                                                  \
        CHECK(ek_is_size((op)->images) && ek_is_size((op)->height) && ek_is_size((op)->width), "impossible sizes"); \
        CHECK((op)->period >= (op)->height && ek_is_size((op)->period), "images that overlap");            \
        CHECK((op)->output_pitch >= (op)->width && ek_is_size((op)->output_pitch), "rows that overlap");    \
        CHECK((int64_t)(op)->images * (op)->period < EK_LIMIT / (op)->output_pitch, "impossible sizes");    \
        int64_t pixels_ = ek_pixels((op)->images, (op)->height, (op)->period, (op)->output_pitch);          \
        CHECK(ek_planes_inside((op)->output, (op)->output_stride, planes_, pixels_, (op)->before, (op)->after, \
                               arena_bytes), "an output outside the arena");                               \
        CHECK((planes_) == 1 || (op)->output_stride >= EK_QUAD * pixels_ + EK_SLACK, "planes that overlap"); \
    } while (0)

static inline int ek_is_stored(int32_t value) {
    return EK_FLIP - 128 <= value && value <= EK_FLIP + 127;
}

#define CHECK_CLAMP(op) \
    CHECK(ek_is_stored((op)->low) && ek_is_stored((op)->high) && (op)->low <= (op)->high, "an impossible clamp")

/* The picture's pixels from the first to the last, in `planes_` planes that are only read */
#define CHECK_READ(place, stride, planes_, pixels_)                                     \
    CHECK(ek_planes_inside(place, stride, planes_, pixels_, 0, 0, arena_bytes), "an input outside the arena")

/* An input picture of `rows` by `columns` pixels an image, with a pitch and period of its own */
#define CHECK_INPUT_PICTURE(op, planes_, rows, columns)                                                        \
    do {                                                                                                       \
        CHECK(ek_is_size(rows) && ek_is_size(columns), "impossible sizes");                                    \
        CHECK((op)->input_period >= (rows) && ek_is_size((op)->input_period), "images that overlap");          \
        CHECK((op)->input_pitch >= (columns) && ek_is_size((op)->input_pitch), "rows that overlap");           \
        CHECK((int64_t)(op)->images * (op)->input_period < EK_LIMIT / (op)->input_pitch, "impossible sizes");  \
        CHECK_READ((op)->input, (op)->input_stride, planes_,                                                   \
                   ek_pixels((op)->images, rows, (op)->input_period, (op)->input_pitch));                      \
    } while (0)

static inline int ek_is_multiplier(int32_t multiplier, int32_t shift) {
    return multiplier >= 0 && -31 <= shift && shift <= 30;
}

/* Whether sums of at most `reach` stay where a float's scale may bring them */
static inline int ek_is_scale(float scale, double reach) {
    return scale >= 0 && scale * reach < (double)(1 << 30);
}

#endif
