/* Between plain tensors and planes, and pixels from place to place, as loops over rows of whole pixels. A level includes
   this file after it has said

     TARGET                           the function attribute that allows its instructions
     KERNEL(family)                   the name of its kernel
     fill(out, n, word)               n pixels of four bytes each
     pick_two(in, out, n)             every second pixel; `in` has 16 pixels to spare
     join_two(a, b, out, n)           pixels of two rows by turns, n in all; the rows have 8 to spare
     unpack_block(in, stride, out, step, n, flips)
                                      four quads of n pixels, 1 to 4, from planes to plain; reads 4 pixels
     restore(margins, plane)          all margins of a plane
     spread(in, out, n, flips, zero)  n pixels of 3 bytes as quads: with bits flipped, and the last byte of `zero` */

#include <string.h>

#include "margin.h"

#define LOOPS static inline __attribute__((always_inline)) TARGET
enum { MOST_PIXELS = 4096 /* of a row that is put together */ };

LOOPS uint32_t pixel_at(const void *p) {
    uint32_t pixel;
    memcpy(&pixel, p, sizeof pixel);
    return pixel;
}

/* Every `step`th pixel */
LOOPS void pick(const uint8_t *restrict in, uint8_t *restrict out, int64_t pixels, int64_t step) {
    if (step == 1)
        memcpy(out, in, (size_t)pixels * EK_QUAD);
    else if (step == 2)
        pick_two(in, out, pixels);
    else
        for (int64_t x = 0; x < pixels; x++) memcpy(out + EK_QUAD * x, in + EK_QUAD * step * x, EK_QUAD);
}

/* Pixels [begin, end) of a row of the output that lie within the input, as first + x * step does */
typedef struct range {
    int64_t first, step, begin, end;
} range;

LOOPS int64_t within(int64_t value, int64_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

LOOPS range inside(int64_t first, int64_t step, int64_t size, int64_t pixels) {
    const int64_t begin = first < 0 ? (-first + step - 1) / step : 0;
    const int64_t end = within(size > first ? (size - first + step - 1) / step : 0, pixels);
    return (range){first, step, begin < end ? begin : end, end};
}

/* A row of a phase, from a row of the input or, if that is NULL, from outside of it */
LOOPS void phase_row(const uint8_t *in, uint8_t *out, const range *r, int64_t pixels, uint32_t zero) {
    if (!in) {
        fill(out, pixels, zero);
        return;
    }
    fill(out, r->begin, zero);
    if (r->begin < r->end)
        pick(in + EK_QUAD * (r->first + r->begin * r->step), out + EK_QUAD * r->begin, r->end - r->begin, r->step);
    fill(out + EK_QUAD * r->end, pixels - r->end, zero);
}

/* Pixels of fewer channels than a quad: `left` of `channels` */
LOOPS void complete(const uint8_t *restrict in, uint8_t *restrict out, int64_t n, int64_t channels, const int left,
                    uint32_t flips, uint32_t zero) {
    const uint32_t own = ~(~0u << 8 * left);
    for (int64_t x = 0; x < n; x++) {
        uint32_t pixel = 0;
        for (int c = 0; c < left; c++) pixel |= (uint32_t)in[x * channels + c] << 8 * c;
        pixel = ((pixel ^ flips) & own) | (zero & ~own);
        memcpy(out + EK_QUAD * x, &pixel, sizeof pixel);
    }
}

/* Quads of `n` pixels of a plain row */
LOOPS void gather(const ek_pack_planes *op, const uint8_t *in, uint8_t *out, int64_t n, int64_t quad) {
    const int64_t channels = op->channels, left = channels - EK_QUAD * quad;
    const uint32_t flips = (uint32_t)op->flip * 0x01010101u, zero = ek_margin_word(op->zero_point);
    in += EK_QUAD * quad;
    if (left >= EK_QUAD)
        for (int64_t x = 0; x < n; x++) {
            uint32_t pixel = pixel_at(in + x * channels) ^ flips;
            memcpy(out + EK_QUAD * x, &pixel, sizeof pixel);
        }
    else if (channels == 1)
        complete(in, out, n, 1, 1, flips, zero);
    else if (channels == 3)
        spread(in, out, n, flips, zero);
    else if (left == 1)
        complete(in, out, n, channels, 1, flips, zero);
    else if (left == 2)
        complete(in, out, n, channels, 2, flips, zero);
    else
        complete(in, out, n, channels, 3, flips, zero);
}

/* The margins behind row y of an image, and with them those beyond the picture where it is the first or the last */
LOOPS void row_margins(const ek_pack_planes *op, const ek_margins *m, uint8_t *plane, int64_t image, int64_t y) {
    const int64_t row = image * m->period + y, start = row * m->pitch + m->width;
    int64_t end = (row + 1) * m->pitch;
    if (y == m->height - 1) end = image == op->images - 1 ? m->pixels + m->after : (image + 1) * m->period * m->pitch;
    if (row == 0) fill(plane - EK_QUAD * m->before, m->before, m->word);
    fill(plane + EK_QUAD * start, end - start, m->word);
}

/* What is the same for all rows */
typedef struct packing {
    const ek_pack_planes *op;
    ek_margins margins;
    range ranges[EK_MAX_STEP];                             /* of the phases of a row */
    int64_t phase;                                /* bytes from the planes of one to those of the next */
    uint8_t quads[EK_QUAD * (MOST_PIXELS + 16)]; /* a row of the input */
} packing;

/* Row y of a quad of an image, in all phases */
LOOPS void pack_row(packing *p, const uint8_t *in, uint8_t *out, int64_t image, int64_t y, int64_t quad) {
    const ek_pack_planes *op = p->op;
    const ek_margins *m = &p->margins;
    const int64_t place = EK_QUAD * (image * m->period + y) * m->pitch, pixel = op->channels;
    for (int64_t a = 0; a < op->step_y; a++) {
        const int64_t from = y * op->step_y + a - op->top;
        const uint8_t *row = 0 <= from && from < op->rows ? in + from * op->columns * pixel : NULL, *quads = NULL;
        if (row) gather(op, row, p->quads, op->columns, quad), quads = p->quads;
        for (int64_t b = 0; b < op->step_x; b++, out += p->phase) {
            phase_row(quads, out + place, &p->ranges[b], m->width, m->word);
            row_margins(op, m, out, image, y);
        }
    }
}

TARGET void KERNEL(pack_planes)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pack_planes *op = op_;
    const int64_t quads = (op->channels + EK_QUAD - 1) / EK_QUAD;
    packing p;
    p.op = op, p.margins = EK_MARGINS(op, op->zero_point), p.phase = quads * op->output_stride;
    if (op->columns > MOST_PIXELS) {
        ek_pack_planes__scalar(op, arena, begin, end);
        return;
    }
    for (int64_t b = 0; b < op->step_x; b++) p.ranges[b] = inside(b - op->left, op->step_x, op->columns, op->width);
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t image = unit / op->height, y = unit % op->height;
        const uint8_t *in = arena + op->input + image * op->rows * op->columns * op->channels;
        for (int64_t q = 0; q < quads; q++)
            pack_row(&p, in, arena + op->output + q * op->output_stride, image, y, q);
    }
}

/* Quads from `first` on, and then the first bytes of one that is not whole */
LOOPS void unpack_quads(const ek_unpack_planes *op, const uint8_t *restrict in, uint8_t *restrict out, int64_t first) {
    const uint32_t flips = (uint32_t)op->flip * 0x01010101u;
    const int64_t whole = op->channels / EK_QUAD, rest = op->channels % EK_QUAD, step = op->row_bytes;
    for (int64_t q = first; q < whole; q++)
        for (int64_t x = 0; x < op->width; x++) {
            uint32_t pixel = pixel_at(in + q * op->input_stride + EK_QUAD * x) ^ flips;
            memcpy(out + x * step + EK_QUAD * q, &pixel, sizeof pixel);
        }
    for (int64_t x = 0; x < op->width; x++)
        for (int64_t c = 0; c < rest; c++)
            out[x * step + EK_QUAD * whole + c] = in[whole * op->input_stride + EK_QUAD * x + c] ^ (uint8_t)op->flip;
}

/* Four quads at a time, as far as there are so many */
LOOPS void unpack_row(const ek_unpack_planes *op, const uint8_t *in, uint8_t *out) {
    int64_t q = 0;
    for (; EK_QUAD * (q + 4) <= op->channels; q += 4)
        for (int64_t x = 0; x < op->width; x += 4)
            unpack_block(in + q * op->input_stride + EK_QUAD * x, op->input_stride, out + x * op->row_bytes + EK_QUAD * q,
                         op->row_bytes, op->width - x < 4 ? op->width - x : 4, (uint32_t)op->flip * 0x01010101u);
    unpack_quads(op, in, out, q);
}

TARGET void KERNEL(unpack_planes)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_unpack_planes *op = op_;
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t row = unit / op->height * op->period + unit % op->height;
        unpack_row(op, arena + op->input + EK_QUAD * row * op->input_pitch,
                   arena + op->output + unit * op->width * op->row_bytes);
    }
}

LOOPS void split_plane(const ek_split_phases *op, const ek_margins *m, const uint8_t *in, uint8_t *out, int64_t a,
                       const range *r) {
    const int64_t row = EK_QUAD * (int64_t)op->input_pitch;
    for (int64_t i = 0; i < op->images; i++)
        for (int64_t y = 0; y < m->height; y++) {
            const int64_t from = y * op->step_y + a - op->top;
            const uint8_t *source = from < 0 || from >= op->rows ? NULL : in + (i * op->input_period + from) * row;
            phase_row(source, out + EK_QUAD * (i * m->period + y) * m->pitch, r, m->width, m->word);
        }
    restore(m, out);
}

TARGET void KERNEL(split_phases)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_split_phases *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    range ranges[EK_MAX_STEP];
    for (int64_t b = 0; b < op->step_x; b++) ranges[b] = inside(b - op->left, op->step_x, op->columns, op->width);
    for (int64_t q = begin; q < end; q++) {
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t a = 0, bit = 0; a < op->step_y; a++)
            for (int64_t b = 0; b < op->step_x; b++, bit++) {
                if (!(op->phases >> bit & 1)) continue;
                split_plane(op, &margins, arena + op->input + q * op->input_stride, out, a, &ranges[b]);
                out += op->planes * op->output_stride;
            }
    }
}

/* A row of the output, of pixels of `step` rows by turns, each `phase` bytes behind the one before */
LOOPS void join_row(const uint8_t *in, int64_t phase, uint8_t *out, int64_t pixels, int64_t step) {
    if (step == 2)
        join_two(in, in + phase, out, pixels);
    else
        for (int64_t b = 0; b < step; b++, in += phase)
            for (int64_t x = b, from = 0; x < pixels; x += step, from++) memcpy(out + EK_QUAD * x, in + EK_QUAD * from, EK_QUAD);
}

TARGET void KERNEL(join_phases)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_join_phases *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t phase = op->planes * op->input_stride, in_row = EK_QUAD * (int64_t)op->input_pitch;
    for (int64_t q = begin; q < end; q++) {
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++) {
            const uint8_t *in = arena + op->input + q * op->input_stride + i * op->input_period * in_row;
            for (int64_t y = 0; y < margins.height; y++)
                join_row(in + y % op->step_y * op->step_x * phase + y / op->step_y * in_row, phase,
                         out + EK_QUAD * (i * margins.period + y) * margins.pitch, margins.width, op->step_x);
        }
        restore(&margins, out);
    }
}

LOOPS void resize_row(const ek_resize_planes *op, const uint8_t *restrict in, uint8_t *restrict out) {
    for (int64_t x = 0; x < op->width; x++) memcpy(out + EK_QUAD * x, in + EK_QUAD * (int64_t)op->source_columns[x], EK_QUAD);
}

/* Rows that come from the same one are copied from each other. */
LOOPS void resize_image(const ek_resize_planes *op, const uint8_t *in, uint8_t *out) {
    const int64_t in_row = EK_QUAD * (int64_t)op->input_pitch, out_row = EK_QUAD * (int64_t)op->output_pitch;
    for (int64_t y = 0; y < op->height; y++, out += out_row) {
        if (y && op->source_rows[y] == op->source_rows[y - 1])
            memcpy(out, out - out_row, (size_t)op->width * EK_QUAD);
        else
            resize_row(op, in + op->source_rows[y] * in_row, out);
    }
}

TARGET void KERNEL(resize_planes)(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_resize_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t in_image = EK_QUAD * (int64_t)op->input_period * op->input_pitch;
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            resize_image(op, in + i * in_image, out + EK_QUAD * i * margins.period * margins.pitch);
        restore(&margins, out);
    }
}
