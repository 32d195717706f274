/* How a depthwise convolution on planes is walked, for every ISA level with vectors. A level includes this file once,
   after vector_ymm.h or vector_zmm.h and after it has said

     TARGET        the function attribute that allows its instructions
     REGISTERS     how many vectors there is room for
     dot(s, x, w)  sums plus the dot products of quads of stored bytes with quads of weights
     ORDER         which of 4 pixels of 4 channels each of 16 bytes is: 4 channels of 4 pixels in any order
     quads(x)      groups of 4 pixels put into it
     FIVE_TAPS     whether rows of 5 taps may be taken in a way of their own
     PAIRS_IN_16_BITS   if dot() adds up the first two products of a quad, and the last two, in 16 bits

   Of a group of 4 pixels of the output, the first two see a row of up to 3 taps within the 4 input pixels from the
   first tap on, and the last two within the 4 pixels from the third tap on. So two loads of a row and four dot products
   give a row's share of 4 sums, of all channels. A longer row is cut into pieces. With stride 2 the pixels of the
   output stand 2 apart: each sees the 4 pixels from its first tap on.

   Rows of 5 taps: all four pixels see their taps within 8 pixels, or with stride 2 two of them within 7. */

#include "depthwise_steps.h"

/* How the planes of an operation are walked. Numbers are in pixels, but rows and images in bytes. */
typedef struct way {
    int64_t height, width, images, stride, in_row, out_row, in_image, out_image;
    int64_t line; /* from the first pixel to the last of an image that is walked as one line; else 0 */
    int five, pieces; /* pieces of the window, if there is but one set and `down` may be used */
    line_fn *along;
    down_fn *down, *pairs;
} way;

INLINE void choose_steps(const ek_depthwise *op, way *w) {
    static line_fn *const fast[] = {line_fast, far_line_fast, half_line_fast};
    static line_fn *const exact[] = {line_exact, far_line_exact, half_line_exact};
    static line_fn *const biased[] = {line_biased, far_line_biased, half_line_biased};
    static down_fn *const downs[] = {three_down, far_down, half_down};
    const int kind = op->stride == 1 ? 0 : op->width > PIXELS / 2 ? 1 : 2;
    w->along = (op->exact ? exact : op->biased ? biased : fast)[kind];
    if (op->biased && op->window_height == 3 && op->window_width <= 3) {
        w->pieces = 3;
        w->down = downs[kind];
        if (kind == 0 && op->input_pitch == op->output_pitch && 2 * op->output_pitch == PIXELS) w->pairs = pairs_down;
    }
#if REGISTERS == 32
    if (op->biased && op->window_height == 5 && op->window_width == 5 && kind == 0) w->pieces = 10, w->down = five_down;
#endif
#if FIVE_TAPS
    static line_fn *const five[] = {line_five, far_line_five, half_line_five};
    const int64_t words = 8 * (int64_t)op->sets * op->window_height;
    if (op->biased && op->window_width == 5 && words <= WORDS && !w->down) w->five = 1, w->along = five[kind];
#endif
}

INLINE way way_of(const ek_depthwise *op) {
    const int64_t pitch = op->output_pitch, line = (op->height - 1) * pitch + op->width;
    const int64_t vectors = op->height * ((op->width + PIXELS - 1) / PIXELS);
    way w = {.height = op->height,
             .width = op->width,
             .images = op->images,
             .stride = op->stride,
             .in_row = EK_QUAD * (int64_t)op->input_pitch,
             .out_row = EK_QUAD * pitch,
             .in_image = EK_QUAD * (int64_t)op->input_pitch * op->input_period,
             .out_image = EK_QUAD * pitch * op->period};
    choose_steps(op, &w);
    const int64_t worth = w.down ? PIXELS - 4 : PIXELS; /* a vector costs less on the way down than along a line */
    if (op->stride == 1 && op->input_pitch == pitch && line <= worth * vectors) w.line = line;
    return w;
}

INLINE void walk_image(const plane *p, const way *w, const uint8_t *in, uint8_t *out) {
    const int64_t end = w->width > PIXELS ? w->width - PIXELS : 0;
    const int down = p->count == w->pieces;
    if (down && w->pairs)
        w->pairs(p, in, out, w->in_row, 2 * w->out_row, (w->height + 1) / 2);
    else if (w->line)
        w->along(p, in, out, w->line);
    else if (down)
        LOOP for (int64_t x = 0; x < w->width; x += PIXELS) {
            const int64_t at = EK_QUAD * (x < end ? x : end);
            w->down(p, in + at * w->stride, out + at, w->in_row, w->out_row, w->height);
        }
    else
        LOOP for (int64_t y = 0; y < w->height; y++)
            w->along(p, in + y * w->stride * w->in_row, out + y * w->out_row, w->width);
}

/* Pixels in whole vectors, which may write over up to EK_SLACK bytes that follow */
INLINE void fill(uint8_t *at, int64_t pixels, uint32_t word) {
    LOOP for (int64_t i = 0; i < pixels; i += PIXELS) store(at + EK_QUAD * i, every((int32_t)word));
}

INLINE void walk(const ek_depthwise *op, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t size = (int64_t)op->sets * op->window_height * op->window_width * EK_QUAD;
    const way w = way_of(op);
    recipe r;
    plane p;
    make_recipe(op, &r, w.five);
    p.to.zero = every(op->zero_point);
    p.to.zero_point = every_real((float)op->zero_point);
    p.to.is_clamped = op->low > 0 || op->high < 255;
    p.to.low = every_byte(op->low);
    p.to.high = every_byte(op->high);
    LOOP for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        take_words(&r, op->weights + q * size, &p);
        take_ending(op, q, &p);
        fill(out - EK_QUAD * margins.before, margins.before, margins.word);
        LOOP for (int64_t i = 0; i < w.images; i++) walk_image(&p, &w, in + i * w.in_image, out + i * w.out_image);
        ek_fill_margins(&margins, out);
        fill(out + EK_QUAD * margins.pixels, margins.after, margins.word);
    }
}

/* Whether there is room for all pieces, and no load reaches further than EK_SLACK bytes behind the input */
static int fits(const ek_depthwise *op) {
    const int64_t stride = op->stride, pieces = (op->window_width + (stride == 1) + GROUP - 1) / GROUP;
    const int64_t vector = stride == 2 && op->width <= PIXELS / 2 ? PIXELS / 2 : PIXELS;
    const int64_t last = (op->width < vector ? vector : op->width) * stride - 1 + 2 + GROUP * (pieces - 1);
    const int64_t needed = (op->width - 1) * stride + op->window_width - 1;
    const int64_t weights = (int64_t)op->sets * op->window_height * op->window_width;
    return weights >= 4 && pieces * op->window_height * op->sets <= MOST && last - needed <= EK_SLACK / EK_QUAD;
}

#define DEPTHWISE(level)                                                                             \
    TARGET void ek_depthwise__##level(const void *op_, uint8_t *arena, int64_t begin, int64_t end) { \
        const ek_depthwise *op = op_;                                                                \
        if (fits(op))                                                                                \
            walk(op, arena, begin, end);                                                             \
        else                                                                                         \
            ek_depthwise__scalar(op, arena, begin, end);                                             \
    }
