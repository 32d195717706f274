/* How a convolution on planes is walked, for every ISA level with vectors. A level includes this file once, after
   vector_ymm.h or vector_zmm.h and after it has said

     TARGET          the function attribute that allows its instructions
     dot(s, x, w)    sums plus the dot products of quads of stored bytes with quads of weights
     SINGLES(TILE)   how lists of single channels are walked for 1, 2, ... vectors: TILE(kept, n), with the sums of
                     4 channels in registers, or TILE(wide, n), with those of one
     FOURS(TILE)     for lists shared by 4 channels: TILE(fours, n)
     EIGHTS(TILE)    and by 8: TILE(eights, n)

   n is a constant in the functions made that way, so loops over vectors are unrolled and sums stay in registers. */

#include "conv.h"
#include "margin.h"

#define INLINE static inline __attribute__((always_inline)) TARGET
#define APART static __attribute__((noinline)) TARGET
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#define LOOP _Pragma("GCC unroll 1")
enum { BYTES = EK_QUAD * PIXELS, MOST = 13 /* vectors in a tile */ };

/* A tile, in all planes */
typedef struct spot {
    const ek_conv *conv;
    const uint8_t *in, *other;
    uint8_t *out;
    int vectors, has_margin;
    uint32_t picture[MOST * PIXELS]; /* all bits set for a pixel of the picture, none for one of the margin */
} spot;

typedef void tile_fn(const spot *at, int64_t c);

INLINE vector clamped(vector bytes, int32_t low, int32_t high) {
    return low > 0 || high < 255 ? clamp(bytes, every_byte(low), every_byte(high)) : bytes;
}

/* Sums of 4 channels, `step` vectors apart, to quads */
INLINE vector fast(const ek_conv *conv, int64_t c, const vector *sums, const int step) {
    const reals zero = every_real((float)conv->zero_point);
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = scaled(sums[i * step], every_real(conv->scale[c + i]), zero);
    return transpose(narrow(y[0], y[1], y[2], y[3]));
}

INLINE vector exact(const ek_conv *conv, int64_t c, const vector *sums, const int step) {
    const vector zero = every(conv->zero_point);
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = plus(multiplied(sums[i * step], conv->multiplier[c + i], conv->shift[c + i]), zero);
    return transpose(narrow(y[0], y[1], y[2], y[3]));
}

INLINE vector add_residual(const ek_conv *conv, vector own, vector other) {
    const vector none = every(0), bias = every(conv->residual_bias);
    const vector weights = every((int32_t)((uint16_t)conv->residual_own | (uint32_t)conv->residual_other << 16));
    vector low = interleave_low(own, other), high = interleave_high(own, other);
    vector z[EK_QUAD] = {interleave_low(low, none), interleave_high(low, none), interleave_low(high, none),
                         interleave_high(high, none)};
    EACH(i, EK_QUAD) z[i] = shifted(plus(products(z[i], weights), bias), conv->residual_shift);
    return clamped(narrow(z[0], z[1], z[2], z[3]), conv->residual_low, conv->residual_high);
}

/* Vector v of channels c..c+3, its margin pixels replaced */
INLINE void put(const spot *at, int64_t c, int v, vector quads, int32_t zero_point) {
    if (at->has_margin) quads = choose(load(at->picture + v * PIXELS), quads, every_byte(zero_point));
    store(at->out + c / EK_QUAD * at->conv->output_stride + v * BYTES, quads);
}

INLINE void finish_with_residual(const spot *at, int64_t c, int v, vector quads) {
    const ek_conv *conv = at->conv;
    vector other = load(at->other + c / EK_QUAD * conv->residual_stride + v * BYTES);
    put(at, c, v, add_residual(conv, quads, other), conv->residual_zero_point);
}

/* All vectors of channels c..c+3: any requantisation, with or without residual */
APART void finish_any(const spot *at, int64_t c, const vector *sums) {
    const ek_conv *conv = at->conv;
    const int n = at->vectors;
    for (int v = 0; v < n; v++) {
        vector y = conv->exact ? exact(conv, c, sums + v, n) : fast(conv, c, sums + v, n);
        y = clamped(y, conv->low, conv->high);
        if (conv->has_residual)
            finish_with_residual(at, c, v, y);
        else
            put(at, c, v, y, conv->zero_point);
    }
}

/* The usual way, from sums in registers */
INLINE void finish(const spot *at, int64_t c, const int n, const vector *sums, const int step) {
    const ek_conv *conv = at->conv;
    if (conv->exact || conv->has_residual) {
        vector copy[EK_QUAD * MOST];
        EACH(i, EK_QUAD) EACH(v, n) copy[i * n + v] = sums[i * step + v];
        finish_any(at, c, copy);
        return;
    }
    EACH(v, n) put(at, c, v, clamped(fast(conv, c, sums + v, step), conv->low, conv->high), conv->zero_point);
}

/* The list of one channel, over n vectors */
INLINE void add_list(vector *sums, const int n, const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    EACH(v, n) sums[v] = every(conv->bias[c]);
    LOOP for (int64_t e = conv->starts[c]; e < conv->starts[c + 1]; e++) {
        const uint8_t *in = at->in + conv->offsets[e];
        const vector word = every(conv->words[e]);
        EACH(v, n) sums[v] = dot(sums[v], load(in + v * BYTES), word);
    }
}

INLINE void kept(const spot *at, int64_t c, const int n) {
    vector sums[EK_QUAD * MOST];
    EACH(i, EK_QUAD) add_list(sums + i * n, n, at, c + i);
    finish(at, c, n, sums, n);
}

INLINE void wide(const spot *at, int64_t c, const int n) {
    vector all[EK_QUAD * MOST];
    LOOP for (int i = 0; i < EK_QUAD; i++) {
        vector sums[MOST];
        add_list(sums, n, at, c + i);
        EACH(v, n) all[i * n + v] = sums[v];
    }
    finish_any(at, c, all);
}

/* The list of `rows` channels */
INLINE void add_shared(vector *sums, const int rows, const int n, const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    const int64_t group = c / rows;
    EACH(r, rows) EACH(v, n) sums[r * n + v] = every(conv->bias[c + r]);
    const int32_t *words = conv->words + conv->starts[group] * rows;
    LOOP for (int64_t e = conv->starts[group]; e < conv->starts[group + 1]; e++, words += rows) {
        const uint8_t *in = at->in + conv->offsets[e];
        vector x[MOST];
        EACH(v, n) x[v] = load(in + v * BYTES);
        EACH(r, rows) {
            const vector word = every(words[r]);
            EACH(v, n) sums[r * n + v] = dot(sums[r * n + v], x[v], word);
        }
    }
}

INLINE void fours(const spot *at, int64_t c, const int n) {
    vector sums[EK_QUAD * MOST];
    add_shared(sums, EK_QUAD, n, at, c);
    finish(at, c, n, sums, n);
}

INLINE void eights(const spot *at, int64_t c, const int n) {
    vector sums[2 * EK_QUAD * MOST];
    add_shared(sums, 2 * EK_QUAD, n, at, c);
    finish(at, c, n, sums, n);
    finish(at, c + EK_QUAD, n, sums + EK_QUAD * n, n);
}

#define DEFINE_TILE(kind, n) \
    APART void kind##_##n(const spot *at, int64_t c) { kind(at, c, n); }
SINGLES(DEFINE_TILE)
FOURS(DEFINE_TILE)
EIGHTS(DEFINE_TILE)

/* Tiles of 1, 2, ... vectors, and the channels that each call does */
typedef struct tiles {
    tile_fn *const *by_vectors;
    int most, channels;
} tiles;

#define NAME_TILE(kind, n) kind##_##n,
#define TILES(LIST, channels) \
    (tiles) {LIST##_list, (int)(sizeof LIST##_list / sizeof *LIST##_list), channels}
static tile_fn *const SINGLES_list[] = {SINGLES(NAME_TILE)};
static tile_fn *const FOURS_list[] = {FOURS(NAME_TILE)};
static tile_fn *const EIGHTS_list[] = {EIGHTS(NAME_TILE)};

INLINE tiles tiles_of(int32_t group) {
    if (group == 1) return TILES(SINGLES, 4);
    return group == 4 ? TILES(FOURS, 4) : TILES(EIGHTS, 8);
}

/* Which pixels of the tile from pixel `first` on are no margin */
INLINE void mark_margin(spot *at, const ek_margins *margins, int64_t first) {
    const int64_t pixels = (int64_t)at->vectors * PIXELS;
    at->has_margin = ek_has_margin(margins, first, first + pixels);
    if (!at->has_margin) return;
    memset(at->picture, 0xFF, (size_t)pixels * EK_QUAD);
    ek_fill_margins(margins, (uint8_t *)at->picture - first * EK_QUAD, first, first + pixels, 0);
}

/* Channels [begin, end) of vectors [first, last), of which there are at most `with.most` */
APART void walk_tile(const ek_conv *conv, uint8_t *arena, const tiles *with, const ek_margins *margins,
                     int64_t first, int64_t last, int64_t begin, int64_t end) {
    const int64_t place = first * BYTES;
    spot at = {.conv = conv, .in = arena + conv->input + place, .other = arena + conv->residual + place,
               .out = arena + conv->output + place, .vectors = (int)(last - first)};
    mark_margin(&at, margins, first * PIXELS);
    tile_fn *tile = with->by_vectors[at.vectors - 1];
    for (int64_t c = begin; c < end; c += with->channels) tile(&at, c);
}

/* Margins before and after all pixels, of the planes of channels [begin, end) */
APART void fill_ends(const ek_conv *conv, uint8_t *arena, const ek_margins *margins, int64_t begin, int64_t end,
                     int is_first, int is_last) {
    for (int64_t c = begin; c < end; c += EK_QUAD) {
        uint8_t *plane = arena + conv->output + c / EK_QUAD * conv->output_stride;
        if (is_first) ek_fill_pixels(plane, -margins->before, 0, margins->word);
        if (is_last) ek_fill_pixels(plane, margins->pixels, margins->pixels + margins->after, margins->word);
    }
}

INLINE void walk(const ek_conv *conv, uint8_t *arena, int64_t number) {
    const ek_margins margins = EK_MARGINS(conv, conv->has_residual ? conv->residual_zero_point : conv->zero_point);
    const ek_conv_unit unit = ek_conv_get_unit(conv, margins.pixels, number);
    const tiles with = tiles_of(conv->group);
    const int64_t vectors = unit.last - unit.first, parts = (vectors + with.most - 1) / with.most;
    for (int64_t i = 0; i < parts; i++)
        walk_tile(conv, arena, &with, &margins, unit.first + i * vectors / parts,
                  unit.first + (i + 1) * vectors / parts, unit.begin, unit.end);
    fill_ends(conv, arena, &margins, unit.begin, unit.end, unit.first == 0, unit.last * PIXELS >= margins.pixels);
}

/* A vector of another size makes units that are not this level's. */
#define CONV(level)                                                                            \
    TARGET void ek_conv__##level(const void *op, uint8_t *arena, int64_t begin, int64_t end) { \
        const ek_conv *conv = op;                                                              \
        if (conv->vector != PIXELS)                                                            \
            ek_conv__scalar(op, arena, begin, end);                                            \
        else                                                                                   \
            for (int64_t unit = begin; unit < end; unit++) walk(conv, arena, unit);            \
    }
