/* Restores the margins that a kernel on planes has written over: see PLANES in ek.h. */

#ifndef EK_MARGIN_H
#define EK_MARGIN_H

#include <string.h>

#include "ops.h"

/* 4 stored bytes of a margin pixel */
static inline uint32_t ek_margin_word(int32_t zero_point) {
    return (uint32_t)(uint8_t)zero_point * 0x01010101u;
}

static inline void ek_fill_pixels(uint8_t *plane, int64_t first, int64_t last, uint32_t word) {
    for (int64_t p = first; p < last; p++) memcpy(plane + EK_QUAD * p, &word, sizeof word);
}

/* The shape of the margins of a plane */
typedef struct ek_margins {
    int64_t pitch, width, height, period, pixels, before, after;
    uint32_t word;
} ek_margins;

#define EK_MARGINS(op, zero_point_)                                                                       \
    (ek_margins) {                                                                                        \
        (op)->output_pitch, (op)->width, (op)->height, (op)->period,                                      \
            (((int64_t)(op)->images - 1) * (op)->period + (op)->height) * (op)->output_pitch, (op)->before, \
            (op)->after, ek_margin_word(zero_point_)                                                      \
    }

/* The first pixel of a margin from `pixel` on; pixels beyond the last one count as its margin */
static inline int64_t ek_next_margin(const ek_margins *m, int64_t pixel) {
    int64_t row = pixel / m->pitch, column = pixel % m->pitch;
    if (pixel >= m->pixels || column >= m->width || row % m->period >= m->height) return pixel;
    if (m->pitch > m->width) return row * m->pitch + m->width;
    int64_t image = row / m->period;
    return m->period > m->height ? (image * m->period + m->height) * m->pitch : m->pixels;
}

/* Margins among the pixels [first, last) of a plane, and with them those before the first pixel and after the last one
   where the range touches them */
static inline void ek_restore_margins(const ek_margins *m, uint8_t *plane, int64_t first, int64_t last) {
    if (first <= 0) ek_fill_pixels(plane, -m->before, 0, m->word);
    if (last >= m->pixels) ek_fill_pixels(plane, m->pixels, m->pixels + m->after, m->word);
    last = last < m->pixels ? last : m->pixels;
    for (int64_t p = ek_next_margin(m, first); p < last; p = ek_next_margin(m, p + 1))
        ek_fill_pixels(plane, p, p + 1, m->word);
}

/* All margins of a plane that lie between its first pixel and its last */
static inline void ek_fill_margins(const ek_margins *m, uint8_t *plane) {
    int64_t gap = m->pitch - m->width, image = m->period * m->pitch;
    for (int64_t first = 0; first < m->pixels; first += image) {
        uint8_t *at = plane + EK_QUAD * (first + m->width);
        if (gap == 1)
            for (int64_t y = 0; y < m->height; y++) memcpy(at + EK_QUAD * y * m->pitch, &m->word, sizeof m->word);
        else
            for (int64_t y = 0; y < m->height; y++) ek_fill_pixels(at + EK_QUAD * y * m->pitch, 0, gap, m->word);
        if (first + image < m->pixels) ek_fill_pixels(plane, first + m->height * m->pitch, first + image, m->word);
    }
}

/* All margins of a plane */
static inline void ek_restore_plane(const ek_margins *m, uint8_t *plane) {
    ek_fill_pixels(plane, -m->before, 0, m->word);
    ek_fill_margins(m, plane);
    ek_fill_pixels(plane, m->pixels, m->pixels + m->after, m->word);
}

#endif
