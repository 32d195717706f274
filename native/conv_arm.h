/* How ARM walks a convolution on planes. A level includes this file once, after conv_finish_arm.h and after it has
   said what becomes of a tile of n vectors of pixels, n being a constant there:

     add_list(sums, n, s, c)     n vectors: pixels of channel c, whose list is its own
     fours(s, q, n)              quad q, whose channels share a list

   and which tiles there are: TILE(singles, n) in SINGLES and TILE(fours, n) in FOURS, n = 1, 2, ... */

typedef void tile_fn(const spot *at, int64_t begin, int64_t end);

/* Bytes of the channels before wait in registers, a quarter of what sums take. */
INLINE void singles(const stroll *s, int64_t q, const int n) {
    if (s->is_plain) {
        int8x16_t bytes[EK_QUAD][MOST / 4];
        EACH(i, EK_QUAD) {
            int32x4_t sums[MOST];
            add_list(sums, n, s, EK_QUAD * q + i);
            to_bytes(bytes[i], sums, n, s->scale[EK_QUAD * q + i], s->zero_point[EK_QUAD * q + i]);
        }
        store_rows(s, q, n, bytes);
    } else {
        int32_t all[MOST * BYTES];
        LOOP for (int i = 0; i < EK_QUAD; i++) {
            int32x4_t sums[MOST];
            add_list(sums, n, s, EK_QUAD * q + i);
            EACH(v, n) vst1q_s32(all + v * BYTES + i * PIXELS, sums[v]);
        }
        finish_any(s->at, EK_QUAD * q, all, 1);
        restore_margins(s, s->out + q * s->stride);
    }
}

/* Quads [begin, end) of a tile */
#define DEFINE_TILE(kind, n)                                             \
    APART void kind##_##n(const spot *at, int64_t begin, int64_t end) {  \
        const stroll s = stroll_of(at);                                  \
        LOOP for (int64_t q = begin; q < end; q++) kind(&s, q, n);       \
    }
SINGLES(DEFINE_TILE)
FOURS(DEFINE_TILE)

/* Tiles of 1, 2, ... vectors */
typedef struct tiles {
    tile_fn *const *by_vectors;
    int most;
} tiles;

#define NAME_TILE(kind, n) kind##_##n,
#define TILES(LIST) (tiles) {LIST##_list, (int)(sizeof LIST##_list / sizeof *LIST##_list)}
static tile_fn *const SINGLES_list[] = {SINGLES(NAME_TILE)};
static tile_fn *const FOURS_list[] = {FOURS(NAME_TILE)};

/* Lists the margin's pixels among [first, last), those behind the last row not. */
APART void find_margins(spot *at, const ek_margins *m, int64_t first, int64_t last) {
    at->margin_count = 0;
    at->margin = m->word;
    last = last < m->pixels ? last : m->pixels;
    for (int64_t p = ek_next_margin(m, first); p < last; p = ek_next_margin(m, p + 1))
        at->margins[at->margin_count++] = (int32_t)(p - first) * EK_QUAD;
}

/* Quads [begin, end) of the pixels from `first` on */
APART void walk_tile(const ek_conv *conv, uint8_t *arena, const tiles *with, const ek_margins *margins, int64_t first,
                     int vectors, int64_t begin, int64_t end) {
    int8_t *memory = (int8_t *)arena + first * EK_QUAD;
    spot at;
    at.conv = conv;
    at.in = memory + conv->input, at.other = memory + conv->residual, at.out = memory + conv->output;
    at.vectors = vectors;
    find_margins(&at, margins, first, first + vectors * PIXELS);
    with->by_vectors[vectors - 1](&at, begin, end);
}

/* Margins before and after all pixels, of quads [begin, end) */
APART void fill_ends(const ek_conv *conv, uint8_t *arena, const ek_margins *m, int64_t begin, int64_t end, int is_first,
                     int is_last) {
    for (int64_t q = begin; q < end; q++) {
        uint8_t *plane = arena + conv->output + q * conv->output_stride;
        if (is_first) ek_fill_pixels(plane, -m->before, 0, m->word);
        if (is_last) ek_fill_pixels(plane, m->pixels, m->pixels + m->after, m->word);
    }
}

/* A unit is of conv->vector pixels, which need not be ours. */
INLINE void walk(const ek_conv *conv, uint8_t *arena, int64_t number) {
    const ek_margins margins = EK_MARGINS(conv, conv->has_residual ? conv->residual_zero_point : conv->zero_point);
    const ek_conv_unit unit = ek_conv_get_unit(conv, margins.pixels, number);
    const tiles with = conv->group == 1 ? TILES(SINGLES) : TILES(FOURS);
    const int64_t first = unit.first * conv->vector, last = unit.last * conv->vector;
    const int64_t end = last < margins.pixels ? last : margins.pixels, vectors = (end - first + PIXELS - 1) / PIXELS;
    const int64_t parts = (vectors + with.most - 1) / with.most;
    for (int64_t i = 0; i < parts; i++) {
        int64_t v = i * vectors / parts;
        walk_tile(conv, arena, &with, &margins, first + v * PIXELS, (int)((i + 1) * vectors / parts - v),
                  unit.begin / EK_QUAD, unit.end / EK_QUAD);
    }
    fill_ends(conv, arena, &margins, unit.begin / EK_QUAD, unit.end / EK_QUAD, unit.first == 0, last >= margins.pixels);
}

/* Planar input, groups of 16 and 32, inverted bytes and gathered input are left to the scalar kernel. */
#define CONV(level)                                                                            \
    TARGET void ek_conv__##level(const void *op, uint8_t *arena, int64_t begin, int64_t end) { \
        const ek_conv *conv = op;                                                              \
        if (conv->planar || conv->group > 2 * EK_QUAD || conv->flipped_size || conv->gathered) \
            ek_conv__scalar(op, arena, begin, end);                                            \
        else                                                                                   \
            for (int64_t unit = begin; unit < end; unit++) walk(op, arena, unit);              \
    }
