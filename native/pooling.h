/* How pools of planes are walked, for every ISA level: the loops are plain C, of which compilers make vectors. A level
   includes this file once, after it has said TARGET, the function attribute that allows its instructions. */

#include "margin.h"
#include "requantise.h"

#define LOOPS static inline __attribute__((always_inline)) TARGET

enum { PIECE = 512 }; /* columns that are looked at together */

/* The part of a window that lies inside the input */
typedef struct window {
    int64_t top, bottom, left, right;
} window;

LOOPS int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

LOOPS window window_at(const ek_pool_planes *op, int64_t y, int64_t x) {
    int64_t top = y * op->stride_y - op->top, left = x * op->stride_x - op->left;
    return (window){top < 0 ? 0 : top, least(top + op->window_height, op->rows), left < 0 ? 0 : left,
                    least(left + op->window_width, op->columns)};
}

LOOPS int32_t average(const ek_pool_planes *op, const ek_byte *in, window w) {
    int32_t sum = 0, count = (int32_t)((w.bottom - w.top) * (w.right - w.left));
    for (int64_t y = w.top; y < w.bottom; y++)
        for (int64_t x = w.left; x < w.right; x++) sum += in[EK_QUAD * (y * op->input_pitch + x)] - EK_FLIP;
    return (sum + (sum > 0 ? count / 2 : -(count / 2))) / count + EK_FLIP;
}

/* Channel c of the average of one image */
LOOPS void average_channel(const ek_pool_planes *op, const ek_byte *in, ek_byte *out) {
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x++) {
            int32_t value = average(op, in, window_at(op, y, x));
            out[EK_QUAD * (y * op->output_pitch + x)] = (ek_byte)ek_clamp(value, op->low, op->high);
        }
}

LOOPS void keep_larger(ek_byte *most, const ek_byte *other, int64_t count) {
    for (int64_t i = 0; i < count; i++) most[i] = other[i] > most[i] ? other[i] : most[i];
}

/* The largest of each column of the rows that output row y sees, for input columns [from, from + count), and the least
   of all values for those that do not exist */
LOOPS void largest_of_columns(const ek_pool_planes *op, const ek_byte *in, int64_t y, int64_t from, int64_t count,
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
LOOPS void largest_of_windows(const ek_pool_planes *op, const ek_byte *columns, int64_t count, ek_byte *out) {
    ek_byte windows[EK_QUAD * PIECE];
    const int64_t seen = (count - 1) * op->stride_x + 1;
    memcpy(windows, columns, (size_t)(EK_QUAD * seen));
    for (int64_t k = 1; k < op->window_width; k++) keep_larger(windows, columns + EK_QUAD * k, EK_QUAD * seen);
    for (int64_t i = 0; i < EK_QUAD * seen; i++) windows[i] = (ek_byte)ek_clamp(windows[i], op->low, op->high);
    for (int64_t i = 0; i < count; i++) memcpy(out + EK_QUAD * i, windows + EK_QUAD * i * op->stride_x, EK_QUAD);
}

LOOPS void maximum_of_image(const ek_pool_planes *op, const ek_byte *in, ek_byte *out) {
    ek_byte columns[EK_QUAD * PIECE];
    int64_t fits = op->window_width < PIECE ? (PIECE - op->window_width) / op->stride_x + 1 : 0;
    for (int64_t y = 0; y < op->height; y++)
        for (int64_t x = 0; x < op->width; x += fits) {
            int64_t count = least(fits, op->width - x), seen = (count - 1) * op->stride_x + op->window_width;
            largest_of_columns(op, in, y, x * op->stride_x - op->left, seen, columns);
            largest_of_windows(op, columns, count, out + EK_QUAD * (y * op->output_pitch + x));
        }
}

LOOPS void pool(const ek_pool_planes *op, uint8_t *arena, int64_t begin, int64_t end) {
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

