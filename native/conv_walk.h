/* How a convolution on planes is walked, for every ISA level with vectors. A level includes this file once, after
   vector_ymm.h or vector_zmm.h and after it has said

     TARGET          the function attribute that allows its instructions
     dot(s, x, w)    sums plus the dot products of quads of stored bytes with quads of weights
     SINGLES(TILE)   how lists of single channels are walked for 1, 2, ... vectors: TILE(kept, n), with the sums of
                     4 channels in registers, or TILE(wide, n), with those of one
     FOURS(TILE)     for lists shared by 4 channels: TILE(fours, n)
     EIGHTS(TILE)    and by 8: TILE(eights, n)

   n is a constant in the functions made that way, so loops over vectors are unrolled and sums stay in registers. */

#include "conv_finish.h"

typedef void tile_fn(const spot *at, int64_t c);

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
    finish(at, c, n, sums);
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
    finish(at, c, n, sums);
}

INLINE void eights(const spot *at, int64_t c, const int n) {
    vector sums[2 * EK_QUAD * MOST];
    add_shared(sums, 2 * EK_QUAD, n, at, c);
    finish(at, c, n, sums);
    finish(at, c + EK_QUAD, n, sums + EK_QUAD * n);
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

/* Pixels [first, last), in vectors that may overlap */
INLINE void fill(uint8_t *plane, int64_t first, int64_t last, vector bytes) {
    if (last - first < PIXELS) {
        LOOP for (; first < last; first++) memcpy(plane + first * EK_QUAD, &bytes, EK_QUAD);
        return;
    }
    LOOP for (; first < last - PIXELS; first += PIXELS) store(plane + first * EK_QUAD, bytes);
    store(plane + (last - PIXELS) * EK_QUAD, bytes);
}

/* Margins before and after all pixels, of the planes of channels [begin, end) */
APART void fill_ends(const ek_conv *conv, uint8_t *arena, const ek_margins *margins, const ek_conv_unit *unit) {
    const vector bytes = every((int32_t)margins->word);
    const int64_t pixels = margins->pixels, before = unit->first ? 0 : margins->before;
    const int64_t after = unit->last * PIXELS < pixels ? 0 : margins->after;
    LOOP for (int64_t c = unit->begin; c < unit->end; c += EK_QUAD) {
        uint8_t *plane = arena + conv->output + c / EK_QUAD * conv->output_stride;
        fill(plane, -before, 0, bytes);
        fill(plane, pixels, pixels + after, bytes);
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
    fill_ends(conv, arena, &margins, &unit);
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
