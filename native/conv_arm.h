/* How ARM walks a convolution on planes. A level includes this file once, after conv_finish_arm.h and after it has
   said how the sums of a tile of n vectors of pixels come about, n being a constant there:

     add_list(sums, n, at, c)   n vectors: pixels of channel c, whose list is its own

   and which tiles there are: TILE(name, n) in SINGLES, FOURS and EIGHTS, for lists of one channel and those that 4 or
   8 share, n = 1, 2, ... */

typedef void tile_fn(const spot *at, int64_t c);

INLINE void singles_any(const spot *at, int64_t c, const int n) {
    int32_t all[MOST * BYTES];
    LOOP for (int i = 0; i < EK_QUAD; i++) {
        int32x4_t sums[MOST];
        add_list(sums, n, at, c + i);
        EACH(v, n) vst1q_s32(all + v * BYTES + i * PIXELS, sums[v]);
    }
    finish_any(at, c, all, 1);
}

/* Bytes of the channels before wait in registers, a quarter of what sums take. */
INLINE void singles(const spot *at, int64_t c, const int n) {
    if (!at->is_plain) {
        singles_any(at, c, n);
        return;
    }
    int8x16_t bytes[EK_QUAD][MOST / 4];
    EACH(i, EK_QUAD) {
        int32x4_t sums[MOST];
        add_list(sums, n, at, c + i);
        to_bytes(bytes[i], sums, n, at->conv->scale[c + i], at->conv->zero_point);
    }
    store_rows(at, c, n, bytes);
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

/* Lists the margin's pixels among [first, last), those behind the last row not. */
APART void find_margins(spot *at, const ek_margins *m, int64_t first, int64_t last) {
    at->margin_count = 0;
    at->margin = m->word;
    last = last < m->pixels ? last : m->pixels;
    for (int64_t p = ek_next_margin(m, first); p < last; p = ek_next_margin(m, p + 1))
        at->margins[at->margin_count++] = (int32_t)(p - first) * EK_QUAD;
}

INLINE void restore_margins(const spot *at, int8_t *plane) {
    LOOP for (int i = 0; i < at->margin_count; i++) memcpy(plane + at->margins[i], &at->margin, sizeof at->margin);
}

/* Channels [begin, end) of the pixels from `first` on */
APART void walk_tile(const ek_conv *conv, uint8_t *arena, const tiles *with, const ek_margins *margins, int64_t first,
                     int vectors, int64_t begin, int64_t end) {
    int8_t *memory = (int8_t *)arena + first * EK_QUAD;
    spot at = {.conv = conv, .in = memory + conv->input, .other = memory + conv->residual,
               .out = memory + conv->output, .vectors = vectors,
               .is_plain = conv->fits16 && !conv->exact && !conv->has_residual};
    find_margins(&at, margins, first, first + vectors * PIXELS);
    tile_fn *tile = with->by_vectors[vectors - 1];
    for (int64_t c = begin; c < end; c += with->channels) {
        tile(&at, c);
        for (int64_t q = c; q < c + with->channels; q += EK_QUAD) restore_margins(&at, plane_of(&at, q));
    }
}

/* Margins before and after all pixels, of the planes of channels [begin, end) */
APART void fill_ends(const ek_conv *conv, uint8_t *arena, const ek_margins *m, int64_t begin, int64_t end,
                     int is_first, int is_last) {
    for (int64_t c = begin; c < end; c += EK_QUAD) {
        uint8_t *plane = arena + conv->output + c / EK_QUAD * conv->output_stride;
        if (is_first) ek_fill_pixels(plane, -m->before, 0, m->word);
        if (is_last) ek_fill_pixels(plane, m->pixels, m->pixels + m->after, m->word);
    }
}

INLINE void walk(const ek_conv *conv, uint8_t *arena, int64_t number) {
    const ek_margins margins = EK_MARGINS(conv, conv->has_residual ? conv->residual_zero_point : conv->zero_point);
    const ek_conv_unit unit = ek_conv_get_unit(conv, margins.pixels, number);
    const tiles with = tiles_of(conv->group);
    const int64_t first = unit.first * conv->vector, last = unit.last * conv->vector;
    const int64_t end = last < margins.pixels ? last : margins.pixels, vectors = (end - first + PIXELS - 1) / PIXELS;
    const int64_t parts = (vectors + with.most - 1) / with.most;
    for (int64_t i = 0; i < parts; i++) {
        int64_t v = i * vectors / parts;
        walk_tile(conv, arena, &with, &margins, first + v * PIXELS, (int)((i + 1) * vectors / parts - v), unit.begin,
                  unit.end);
    }
    fill_ends(conv, arena, &margins, unit.begin, unit.end, unit.first == 0, last >= margins.pixels);
}

/* Sums that are biased have no use here, where rounding is cheap. */
#define CONV(level)                                                                            \
    TARGET void ek_conv__##level(const void *op, uint8_t *arena, int64_t begin, int64_t end) { \
        if (((const ek_conv *)op)->biased)                                                     \
            ek_conv__scalar(op, arena, begin, end);                                            \
        else                                                                                   \
            for (int64_t unit = begin; unit < end; unit++) walk(op, arena, unit);              \
    }
