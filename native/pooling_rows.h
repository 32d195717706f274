/* Pools of planes as loops over rows that a compiler makes vectors of: first down the rows of a window, then along.
   A level includes this file after it has said

     TARGET          the function attribute that allows its instructions
     KERNEL(family)  the name of its kernel */

#include <string.h>

#include "margin.h"

#define LOOPS static inline __attribute__((always_inline)) TARGET
enum { MOST_PIXELS = 1024 /* of a row, with its margins */, MOST_AREA = 257 /* of averages: sums of 16 bits */ };

/* Rows [top, bottom) of a window, which start at `in` */
typedef struct window {
    const ek_byte *in;
    int64_t rows, bytes, pitch; /* rows in the input, bytes of one, bytes from one to the next */
} window;

LOOPS void maximum_down(const window *w, ek_byte *restrict out) {
    memcpy(out, w->in, (size_t)w->bytes);
    for (int64_t y = 1; y < w->rows; y++) {
        const ek_byte *in = w->in + y * w->pitch;
        for (int64_t i = 0; i < w->bytes; i++) out[i] = in[i] > out[i] ? in[i] : out[i];
    }
}

LOOPS void maximum_along(const ek_byte *restrict in, ek_byte *restrict out, int64_t bytes, int64_t taps) {
    memcpy(out, in, (size_t)bytes);
    for (int64_t tap = 1; tap < taps; tap++) {
        const ek_byte *next = in + EK_QUAD * tap;
        for (int64_t i = 0; i < bytes; i++) out[i] = next[i] > out[i] ? next[i] : out[i];
    }
}

LOOPS void sum_down(const window *w, int16_t *restrict out) {
    for (int64_t i = 0; i < w->bytes; i++) out[i] = (int16_t)(w->in[i] - EK_FLIP);
    for (int64_t y = 1; y < w->rows; y++) {
        const ek_byte *in = w->in + y * w->pitch;
        for (int64_t i = 0; i < w->bytes; i++) out[i] = (int16_t)(out[i] + in[i] - EK_FLIP);
    }
}

LOOPS void sum_along(const int16_t *restrict in, int16_t *restrict out, int64_t numbers, int64_t taps) {
    memcpy(out, in, (size_t)numbers * sizeof *out);
    for (int64_t tap = 1; tap < taps; tap++) {
        const int16_t *next = in + EK_QUAD * tap;
        for (int64_t i = 0; i < numbers; i++) out[i] = (int16_t)(out[i] + next[i]);
    }
}

/* By `rows` times the columns that each sum has, to nearest, ties away from zero; exact in floats, for all is small */
LOOPS void divide(const int16_t *restrict sums, const float *restrict columns, float rows, ek_byte *restrict out,
                  int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) {
        const float count = rows * columns[i], half = (float)((int32_t)count >> 1), sum = (float)sums[i];
        const int32_t most = (int32_t)(((sum < 0 ? -sum : sum) + half) / count);
        out[i] = (ek_byte)((sums[i] < 0 ? -most : most) + EK_FLIP);
    }
}

LOOPS void clamp_row(ek_byte *out, int64_t bytes, int32_t low, int32_t high) {
    const ek_byte least = (ek_byte)low, most = (ek_byte)high;
    for (int64_t i = 0; i < bytes; i++) {
        ek_byte value = out[i] < least ? least : out[i];
        out[i] = value > most ? most : value;
    }
}

/* Every `step`th pixel */
LOOPS void pick(const ek_byte *restrict in, ek_byte *restrict out, int64_t pixels, int64_t step) {
    for (int64_t x = 0; x < pixels; x++) memcpy(out + EK_QUAD * x, in + EK_QUAD * step * x, EK_QUAD);
}

LOOPS void pick_any(const ek_byte *in, ek_byte *out, int64_t pixels, int64_t step) {
    if (step == 1)
        memcpy(out, in, (size_t)pixels * EK_QUAD);
    else if (step == 2)
        pick(in, out, pixels, 2);
    else
        pick(in, out, pixels, step);
}

/* Rows that are put together: of the input with what lies beside it, and of windows at every pixel of it */
typedef struct rows {
    int64_t span; /* pixels that windows start at */
    _Alignas(64) ek_byte bytes[EK_QUAD * MOST_PIXELS], found[EK_QUAD * MOST_PIXELS];
    _Alignas(64) int16_t numbers[EK_QUAD * MOST_PIXELS], sums[EK_QUAD * MOST_PIXELS];
    _Alignas(64) float columns[EK_QUAD * MOST_PIXELS]; /* of the input that a window has, for each byte */
} rows;

LOOPS void maximum_row(const ek_pool_planes *op, const window *w, rows *r, ek_byte *out) {
    maximum_down(w, r->bytes + EK_QUAD * op->left);
    maximum_along(r->bytes, r->found, EK_QUAD * r->span, op->window_width);
    pick_any(r->found, out, op->width, op->stride_x);
}

LOOPS void average_row(const ek_pool_planes *op, const window *w, rows *r, ek_byte *out) {
    sum_down(w, r->numbers + EK_QUAD * op->left);
    sum_along(r->numbers, r->sums, EK_QUAD * r->span, op->window_width);
    divide(r->sums, r->columns, (float)w->rows, r->found, EK_QUAD * r->span);
    pick_any(r->found, out, op->width, op->stride_x);
}

LOOPS window window_at(const ek_pool_planes *op, const ek_byte *in, int64_t y) {
    const int64_t top = y * op->stride_y - op->top, bottom = top + op->window_height, pitch = EK_QUAD * op->input_pitch;
    const int64_t first = top < 0 ? 0 : top, last = bottom < op->rows ? bottom : op->rows;
    return (window){in + first * pitch, last - first, EK_QUAD * (int64_t)op->columns, pitch};
}

LOOPS void pool_plane(const ek_pool_planes *op, const ek_margins *m, const ek_byte *in, ek_byte *out, rows *r) {
    const int64_t in_image = EK_QUAD * (int64_t)op->input_period * op->input_pitch;
    for (int64_t i = 0; i < op->images; i++)
        for (int64_t y = 0; y < m->height; y++) {
            ek_byte *row = out + EK_QUAD * (i * m->period + y) * m->pitch;
            const window w = window_at(op, in + i * in_image, y);
            if (op->average)
                average_row(op, &w, r, row);
            else
                maximum_row(op, &w, r, row);
            clamp_row(row, EK_QUAD * m->width, op->low, op->high);
        }
    ek_restore_plane(m, (uint8_t *)out);
}

LOOPS void start(const ek_pool_planes *op, rows *r) {
    const size_t bytes = EK_QUAD * (size_t)(r->span + op->window_width);
    if (!op->average) {
        memset(r->bytes, EK_FLIP - 128, bytes);
        return;
    }
    memset(r->numbers, 0, bytes * sizeof *r->numbers);
    for (int64_t x = 0; x < r->span; x++) {
        int64_t first = x - op->left, last = first + op->window_width;
        float columns = (float)((last < op->columns ? last : op->columns) - (first > 0 ? first : 0));
        for (int64_t c = 0; c < EK_QUAD; c++) r->columns[EK_QUAD * x + c] = columns;
    }
}

/* Whether rows have room, windows of averages are small, and each has a pixel of the input at every place */
LOOPS int fits(const ek_pool_planes *op, int64_t span) {
    const int64_t pixels = span + op->window_width, area = (int64_t)op->window_height * op->window_width;
    return pixels <= MOST_PIXELS && op->left + op->columns <= MOST_PIXELS && (!op->average || area < MOST_AREA);
}

TARGET void KERNEL(pool_planes)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pool_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    rows r;
    r.span = (op->width - 1) * (int64_t)op->stride_x + 1;
    if (!fits(op, r.span)) {
        ek_pool_planes__scalar(op, arena, begin, end);
        return;
    }
    start(op, &r);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        pool_plane(op, &margins, (const ek_byte *)in, (ek_byte *)out, &r);
    }
}
