/* How a convolution on planes is walked, for every ISA level with vectors. A level includes this file once, after
   conv_finish.h and after it has said

     add_run(sums, rows, n, in, entry, run)   how to add `run` entries of a list that `rows` channels share to the
                     sums of n vectors of each channel; `run` is 1, or 4 or 2 if HAS_RUNS
     add_flipped(sums, rows, n, in, entry)   if HAS_RUNS, how to add an entry whose bytes are inverted
     SINGLES(TILE)   how lists of single channels are walked for 1, 2, ... vectors: TILE(kept, n), with the sums of
                     4 channels in registers, TILE(kept_abreast, n), or TILE(wide_abreast, n), with those of two;
                     with SINGLES_ABREAST, TILE(wide, n), with those of one, which takes two tiles at once
     LONG_SINGLES(TILE), LONG   and how if they have at least that many entries, on average
     FOURS(TILE)     for lists shared by 4 channels: TILE(fours, n)
     EIGHTS(TILE)    and by 8: TILE(eights, n)
     RUN_SINGLES(TILE), RUN_FOURS(TILE), RUN_EIGHTS(TILE)   if HAS_RUNS, the same for lists in runs: TILE(wide_runs, n),
                     TILE(fours_runs, n), TILE(eights_runs, n)
     PLANARS(TILE)   for planar input: TILE(planar, n), n vectors of 4 * PIXELS bytes, by dot(sums, x, word)

   n is a constant in the functions made that way, so loops over vectors are unrolled and sums stay in registers. */

/* Channels [begin, end) of a tile */
typedef void tile_fn(const spot *at, int64_t begin, int64_t end);

/* The same of several tiles of the same size, channel by channel */
typedef void tiles_fn(const spot *tiles, int count, int64_t begin, int64_t end);

/* The lists of a convolution, likewise read once */
typedef struct lists {
    const int32_t *starts, *entries, *runs, *flipped, *bias;
    const uint8_t *in;
    uint8_t *out;
    int64_t stride;
    int ending;
} lists;

INLINE lists lists_of(const spot *at) {
    const ek_conv *conv = at->conv;
    return (lists){conv->starts, conv->entries, conv->runs, conv->flipped_size ? conv->flipped : NULL,
                   conv->bias, at->in, at->out,
                   conv->output_stride, ending_of(conv)};
}

INLINE const int32_t *entry_of(const lists *all, int64_t group, const int rows) {
    return all->entries + (int64_t)all->starts[group] * (1 + rows);
}

INLINE uint8_t *out_of(const lists *all, int64_t c) {
    return all->out + c / EK_QUAD * all->stride;
}

INLINE void start(vector *sums, const int n, int32_t bias) {
    EACH(v, n) sums[v] = every(bias);
}

INLINE void add_entries(vector *sums, const int rows, const int n, const uint8_t *in, const int32_t *entry,
                        const int32_t *end, const int run) {
    LOOP for (; entry != end; entry += run * (1 + rows)) {
        if (rows == EK_QUAD) __builtin_prefetch(entry + SOON_LISTED * (1 + rows)); /* dense lists are long */
        add_run(sums, rows, n, in, entry, run);
    }
}

/* The list of a group: its entries in fours, then in twos, then one by one, and those whose bytes are inverted */
typedef struct list {
    const int32_t *entry, *fours_end, *twos_end, *flipped, *end;
} list;

INLINE list list_of(const lists *all, int64_t group, const int rows, const int in_runs) {
    const int32_t *entry = entry_of(all, group, rows), *end = entry_of(all, group + 1, rows);
    if (!in_runs) return (list){entry, entry, entry, end, end};
    const int64_t size = 1 + rows;
    return (list){entry, all->entries + all->runs[2 * group] * size, all->entries + all->runs[2 * group + 1] * size,
                  all->flipped ? all->entries + all->flipped[group] * size : end, end};
}

/* The whole of it, in runs or not */
INLINE void add_list(vector *sums, const int rows, const int n, const uint8_t *in, const list *own, const int in_runs) {
    if (in_runs) {
        add_entries(sums, rows, n, in, own->entry, own->fours_end, 4);
        add_entries(sums, rows, n, in, own->fours_end, own->twos_end, 2);
    }
    add_entries(sums, rows, n, in, own->twos_end, own->flipped, 1);
#ifdef HAS_RUNS
    if (rows <= EK_QUAD && in_runs)
        LOOP for (const int32_t *one = own->flipped; one != own->end; one += 1 + rows) add_flipped(sums, rows, n, in, one);
#endif
}

/* 4 channels at once, one list after another */
INLINE void kept(const spot *at, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(at);
    const rounding to = rounding_of(at->conv);
    LOOP for (int64_t c = begin; c < end; c += EK_QUAD) {
        vector sums[EK_QUAD * MOST];
        EACH(i, EK_QUAD) {
            start(sums + i * n, n, all.bias[c + i]);
            const list own = list_of(&all, c + i, 1, 0);
            add_list(sums + i * n, 1, n, all.in, &own, 0);
        }
        finish(at, &to, out_of(&all, c), c, n, sums, all.ending);
    }
}

/* The lists of channels c and c + 1 side by side, as far as both go: there is always one sum that can be added to
   while another is not there yet. */
INLINE void add_abreast(vector *sums, const int n, const lists *all, int64_t c) {
    const int32_t *first = entry_of(all, c, 1), *second = entry_of(all, c + 1, 1);
    const int32_t *first_end = second, *second_end = entry_of(all, c + 2, 1);
    const int64_t shorter = first_end - first < second_end - second ? first_end - first : second_end - second;
    const int32_t *both_end = first + shorter;
    start(sums, n, all->bias[c]);
    start(sums + n, n, all->bias[c + 1]);
    LOOP for (; first != both_end; first += 2, second += 2) {
        add_run(sums, 1, n, all->in, first, 1);
        add_run(sums + n, 1, n, all->in, second, 1);
    }
    add_entries(sums, 1, n, all->in, first, first_end, 1);
    add_entries(sums + n, 1, n, all->in, second, second_end, 1);
}

INLINE void kept_abreast(const spot *at, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(at);
    const rounding to = rounding_of(at->conv);
    LOOP for (int64_t c = begin; c < end; c += EK_QUAD) {
        vector sums[EK_QUAD * MOST];
        add_abreast(sums, n, &all, c);
        add_abreast(sums + 2 * n, n, &all, c + 2);
        finish(at, &to, out_of(&all, c), c, n, sums, all.ending);
    }
}

/* One channel at once, of one tile or of two: where a list ends cannot be foreseen the first time, but the second. */
INLINE void wide_of(const spot *tiles, const int count, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(tiles);
    LOOP for (int64_t c = begin; c < end; c += EK_QUAD) {
        vector quads[ABREAST][EK_QUAD * MOST];
        LOOP for (int i = 0; i < EK_QUAD; i++) {
            const list own = list_of(&all, c + i, 1, 0);
            EACH(t, count) {
                vector sums[MOST], *to = quads[t] + i * n;
                start(sums, n, all.bias[c + i]);
                add_list(sums, 1, n, tiles[t].in, &own, 0);
                __asm__("" : "+r"(to)); /* one address, not one for each vector */
                EACH(v, n) to[v] = sums[v];
            }
        }
        EACH(t, count) finish_any(tiles + t, c, quads[t]);
    }
}

INLINE void wide(const spot *tiles, int count, int64_t begin, int64_t end, const int n) {
    if (count == 1)
        wide_of(tiles, 1, begin, end, n);
    else
        wide_of(tiles, 2, begin, end, n);
}

/* Two */
INLINE void wide_abreast(const spot *at, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(at);
    LOOP for (int64_t c = begin; c < end; c += EK_QUAD) {
        vector quad[EK_QUAD * MOST];
        LOOP for (int i = 0; i < EK_QUAD; i += 2) {
            vector sums[2 * MOST];
            add_abreast(sums, n, &all, c + i);
            EACH(v, 2 * n) quad[i * n + v] = sums[v];
        }
        finish_any(at, c, quad);
    }
}

/* What finish() will add to channels c..c+3: it may be far away, and is fetched while the sums are made. */
INLINE void fetch_residual(const spot *at, int64_t c, const int n) {
    const uint8_t *other = at->other + c / EK_QUAD * at->conv->residual_stride;
    for (int64_t i = 0; i < n * BYTES; i += EK_ALIGNMENT) __builtin_prefetch(other + i);
}

INLINE void shared(const spot *at, int64_t begin, int64_t end, const int rows, const int n, const int in_runs) {
    const lists all = lists_of(at);
    const rounding to = rounding_of(at->conv);
    LOOP for (int64_t c = begin; c < end; c += rows) {
        vector sums[2 * EK_QUAD * MOST];
        EACH(r, rows) start(sums + r * n, n, all.bias[c + r]);
        if (all.ending == RESIDUAL) EACH(q, rows / EK_QUAD) fetch_residual(at, c + q * EK_QUAD, n);
        const list own = list_of(&all, c / rows, rows, in_runs);
        add_list(sums, rows, n, all.in, &own, in_runs);
        EACH(q, rows / EK_QUAD)
        finish(at, &to, out_of(&all, c) + q * all.stride, c + q * EK_QUAD, n, sums + q * EK_QUAD * n, all.ending);
    }
}

INLINE void fours(const spot *at, int64_t begin, int64_t end, const int n) {
    shared(at, begin, end, EK_QUAD, n, 0);
}

INLINE void eights(const spot *at, int64_t begin, int64_t end, const int n) {
    shared(at, begin, end, 2 * EK_QUAD, n, 0);
}

#ifdef HAS_RUNS
/* One channel at once. (Several tiles are not worth it here: with three loops more, compilers lose sums to memory.) */
INLINE void wide_runs(const spot *at, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(at);
    LOOP for (int64_t c = begin; c < end; c += EK_QUAD) {
        vector quad[EK_QUAD * MOST];
        LOOP for (int i = 0; i < EK_QUAD; i++) {
            vector sums[MOST];
            start(sums, n, all.bias[c + i]);
            const list own = list_of(&all, c + i, 1, 1);
            add_list(sums, 1, n, all.in, &own, 1);
            EACH(v, n) quad[i * n + v] = sums[v];
        }
        finish_any(at, c, quad);
    }
}

INLINE void fours_runs(const spot *at, int64_t begin, int64_t end, const int n) {
    shared(at, begin, end, EK_QUAD, n, 1);
}

INLINE void eights_runs(const spot *at, int64_t begin, int64_t end, const int n) {
    shared(at, begin, end, 2 * EK_QUAD, n, 1);
}
#endif

#include "conv_planar.h"

#define DEFINE_TILE(kind, n) \
    APART void kind##_##n(const spot *at, int64_t begin, int64_t end) { kind(at, begin, end, n); }
#ifdef SINGLES_ABREAST
#define DEFINE_TILES(kind, n) \
    APART void kind##_##n(const spot *tiles, int count, int64_t begin, int64_t end) { kind(tiles, count, begin, end, n); }
SINGLES(DEFINE_TILES)
#else
SINGLES(DEFINE_TILE)
#endif
#ifdef LONG_SINGLES
LONG_SINGLES(DEFINE_TILE)
#endif
#ifdef HAS_RUNS
RUN_SINGLES(DEFINE_TILE)
RUN_FOURS(DEFINE_TILE)
RUN_EIGHTS(DEFINE_TILE)
#endif
FOURS(DEFINE_TILE)
EIGHTS(DEFINE_TILE)
PLANARS(DEFINE_TILE)

/* Tiles of 1, 2, ... vectors, one after another or abreast */
typedef struct tiles {
    tile_fn *const *by_vectors;
    tiles_fn *const *abreast;
    int most;
} tiles;

#define NAME_TILE(kind, n) kind##_##n,
#define TILES(LIST) \
    (tiles) {LIST##_list, NULL, (int)(sizeof LIST##_list / sizeof *LIST##_list)}
#define TILES_ABREAST(LIST) \
    (tiles) {NULL, LIST##_list, (int)(sizeof LIST##_list / sizeof *LIST##_list)}
#ifdef SINGLES_ABREAST
static tiles_fn *const SINGLES_list[] = {SINGLES(NAME_TILE)};
#else
static tile_fn *const SINGLES_list[] = {SINGLES(NAME_TILE)};
#endif
#ifdef LONG_SINGLES
static tile_fn *const LONG_SINGLES_list[] = {LONG_SINGLES(NAME_TILE)};
#endif
#ifdef HAS_RUNS
static tile_fn *const RUN_SINGLES_list[] = {RUN_SINGLES(NAME_TILE)};
static tile_fn *const RUN_FOURS_list[] = {RUN_FOURS(NAME_TILE)};
static tile_fn *const RUN_EIGHTS_list[] = {RUN_EIGHTS(NAME_TILE)};
#endif
static tile_fn *const FOURS_list[] = {FOURS(NAME_TILE)};
static tile_fn *const EIGHTS_list[] = {EIGHTS(NAME_TILE)};
static tile_fn *const PLANARS_list[] = {PLANARS(NAME_TILE)};

INLINE tiles tiles_of(const ek_conv *conv) {
    if (conv->planar) return TILES(PLANARS);
#ifdef HAS_RUNS
    if (conv->runs_size && conv->group == 1) return TILES(RUN_SINGLES);
    if (conv->runs_size) return conv->group == 4 ? TILES(RUN_FOURS) : TILES(RUN_EIGHTS);
#endif
    if (conv->group == 4) return TILES(FOURS);
    if (conv->group == 8) return TILES(EIGHTS);
#ifdef LONG_SINGLES
    if (conv->starts[conv->channels] >= LONG * conv->channels) return TILES(LONG_SINGLES);
#endif
#ifdef SINGLES_ABREAST
    return TILES_ABREAST(SINGLES);
#else
    return TILES(SINGLES);
#endif
}

/* Which pixels of the tile from pixel `first` on are margin */
INLINE void mark_margin(spot *at, const ek_margins *margins, int64_t first) {
    const int64_t end = first + (int64_t)at->vectors * PIXELS;
    at->margin_word = margins->word;
    for (int64_t pixel = ek_next_margin(margins, first); pixel < end; pixel = ek_next_margin(margins, pixel + 1))
        at->margin[at->margin_pixels++] = (int32_t)(pixel - first) * EK_QUAD;
    for (int i = at->margin_pixels; i % RUN; i++) at->margin[i] = at->margin[i - 1];
}

/* The conv->vector pixels times `vectors` from pixel `first` on */
INLINE spot spot_of(const ek_conv *conv, uint8_t *arena, const ek_margins *margins, int64_t first, int64_t vectors) {
    const int64_t place = EK_QUAD * first, left = (margins->pixels - first + PIXELS - 1) / PIXELS;
    const int64_t all = vectors * conv->vector / PIXELS;
    return (spot){.conv = conv, .in = arena + conv->input + (conv->planar ? first : place),
                  .other = arena + conv->residual + place, .out = arena + conv->output + place,
                  .vectors = (int)(all < left ? all : left)};
}

APART void walk_tile(const ek_conv *conv, uint8_t *arena, tile_fn *tile, const ek_margins *margins, int64_t first,
                     int64_t vectors, int64_t begin, int64_t end) {
    spot at = spot_of(conv, arena, margins, first, vectors);
    mark_margin(&at, margins, first);
    tile(&at, begin, end);
}

/* What a tile reads of each plane, beside each other */
INLINE void gather(const ek_conv *conv, const uint8_t *in, int64_t vectors, uint8_t *to) {
    const int64_t bytes = vectors * BYTES + ek_conv_gathered_around(conv);
    in -= conv->gathered_before;
    LOOP for (int plane = 0; plane < conv->gathered_planes; plane++) {
        LOOP for (int64_t i = 0; i < bytes; i += BYTES) store(to + i, load(in + i));
        in += conv->input_stride;
        to += conv->gathered;
    }
}

APART void walk_gathered(const ek_conv *conv, uint8_t *arena, tile_fn *tile, const ek_margins *margins, int64_t first,
                         int64_t vectors, int64_t begin, int64_t end) {
    _Alignas(EK_ALIGNMENT) uint8_t near[EK_GATHERED];
    spot at = spot_of(conv, arena, margins, first, vectors);
    gather(conv, at.in, vectors, near);
    at.in = near + conv->gathered_before;
    mark_margin(&at, margins, first);
    tile(&at, begin, end);
}

INLINE void fill(uint8_t *to, int64_t pixels, vector bytes) {
    LOOP for (; pixels >= PIXELS; pixels -= PIXELS, to += BYTES) store(to, bytes);
    if (pixels) store_first(to, bytes, pixels);
}

/* Margins before the unit's first pixel and after its last, if these are those of the planes */
APART void fill_ends(const ek_conv *conv, uint8_t *arena, const ek_margins *margins, const ek_conv_unit *unit) {
    const vector bytes = every((int32_t)margins->word);
    const int64_t before = unit->first ? 0 : margins->before;
    const int64_t after = unit->last * conv->vector < margins->pixels ? 0 : margins->after;
    LOOP for (int64_t c = unit->begin; c < unit->end; c += EK_QUAD) {
        uint8_t *plane = arena + conv->output + c / EK_QUAD * conv->output_stride;
        fill(plane - before * EK_QUAD, before, bytes);
        fill(plane + margins->pixels * EK_QUAD, after, bytes);
    }
}

#ifdef HAS_ROWS
#include "conv_rows.h"
#endif

/* Tiles of the same size: the last one may begin among the pixels of the one before. */
APART void walk_abreast(const ek_conv *conv, uint8_t *arena, tiles with, const ek_margins *margins,
                        const ek_conv_unit *unit) {
    const int64_t vectors = unit->last - unit->first, parts = (vectors + with.most - 1) / with.most;
    const int64_t n = (vectors + parts - 1) / parts;
    spot tiles[ABREAST];
    int count = 0;
    for (int64_t i = 0; i < parts; i++) {
        const int64_t begin = (i + 1) * n < vectors ? i * n : vectors - n, first = (unit->first + begin) * conv->vector;
        tiles[count] = spot_of(conv, arena, margins, first, n);
        tiles[count].begin = (int)(i * n - begin);
        mark_margin(&tiles[count++], margins, first);
        if (count < ABREAST && i < parts - 1) continue;
        with.abreast[n - 1](tiles, count, unit->begin, unit->end);
        count = 0;
    }
}

APART void walk_one_by_one(const ek_conv *conv, uint8_t *arena, tiles with, const ek_margins *margins,
                           const ek_conv_unit *unit) {
    const int64_t vectors = unit->last - unit->first, parts = (vectors + with.most - 1) / with.most;
    for (int64_t i = 0; i < parts; i++) {
        const int64_t first = i * vectors / parts, last = (i + 1) * vectors / parts;
        (conv->gathered ? walk_gathered : walk_tile)(
            conv, arena, with.by_vectors[last - first - 1], margins, (unit->first + first) * conv->vector, last - first,
            unit->begin, unit->end);
    }
}

INLINE void walk_in_tiles(const ek_conv *conv, uint8_t *arena, const ek_margins *margins, const ek_conv_unit *unit) {
    const tiles with = tiles_of(conv);
    if (with.abreast)
        walk_abreast(conv, arena, with, margins, unit);
    else
        walk_one_by_one(conv, arena, with, margins, unit);
}

INLINE void walk(const ek_conv *conv, uint8_t *arena, int64_t number) {
    const ek_margins margins = EK_MARGINS(conv, conv->has_residual ? conv->residual_zero_point : conv->zero_point);
    const ek_conv_unit unit = ek_conv_get_unit(conv, margins.pixels, number);
#ifdef HAS_ROWS
    if (conv->group == ROWS_GROUP)
        walk_in_rows(conv, arena, &margins, &unit);
    else
#endif
        walk_in_tiles(conv, arena, &margins, &unit);
    fill_ends(conv, arena, &margins, &unit);
}

INLINE int is_own_form(const ek_conv *conv) {
#ifdef HAS_ROWS
    if (conv->group == ROWS_GROUP) return 1;
#endif
#ifndef HAS_RUNS
    if (conv->flipped_size || conv->gathered) return 0;
#endif
    return conv->group <= 2 * EK_QUAD;
}

/* A vector of another size makes units that are not this level's, and some groups are not every level's. */
#define CONV(level)                                                                            \
    TARGET void ek_conv__##level(const void *op, uint8_t *arena, int64_t begin, int64_t end) { \
        const ek_conv *conv = op;                                                              \
        if (conv->vector != (conv->planar ? EK_QUAD : 1) * PIXELS || !is_own_form(conv)) \
            ek_conv__scalar(op, arena, begin, end);                                            \
        else                                                                                   \
            for (int64_t unit = begin; unit < end; unit++) walk(conv, arena, unit);            \
    }
