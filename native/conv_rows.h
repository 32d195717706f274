/* Convolutions with a vector of output channels for each pixel. A plane of 7 x 7 pixels fills few vectors of pixels, and
   these badly; here rows of any length are walked, without their margins. A quad is loaded once for all channels of a
   list, and weights once for all pixels whose sums are in registers. What a level says for it besides what conv_walk.h
   asks for: load_reals, every_at, load_lanes, store_lanes, and

     ROWS_MOST         pixels whose sums are in registers, an even number
     ROWS_TILES(TILE)  TILE(rows, n) for all n pixels side by side in 1 row, and in 2 */

enum {
    ROWS_GROUP = 2 * PIXELS, /* channels of a list: those of two vectors */
    SOON = 5,       /* entries between a fetch to the first cache and its use */
    PARTS = 3       /* strips in which the next list is fetched to the second cache, a line an entry */
};

/* Pixels side by side in a row, or in two rows one below the other */
typedef struct strip {
    const ek_conv *conv;
    const uint8_t *in, *other;
    uint8_t *out;
    int64_t row_bytes;
    const uint8_t *ahead; /* what is fetched for later */
} strip;

/* Channels c..c+ROWS_GROUP-1 */
typedef void strip_fn(const strip *at, int64_t c);

INLINE const int32_t *words_of(const ek_conv *conv, int64_t c) {
    return conv->entries + (int64_t)conv->starts[c / ROWS_GROUP] * ROWS_GROUP;
}

INLINE vector lanes_fast(const rounding *all, int64_t c, const vector *const *sums, const int biased) {
    const reals scale = load_reals(all->scale + c), zero = biased ? load_reals(all->zero_point + c) : all->zero;
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = scaled(biased ? reals_of_bits(*sums[i]) : reals_of(*sums[i]), scale, zero);
    return narrow(y[0], y[1], y[2], y[3]);
}

INLINE vector lanes_exact(const ek_conv *conv, int64_t c, const vector *const *sums) {
    const vector factor = load(conv->multiplier + c), shift = load(conv->shift + c), none = every(0);
    const vector left = larger(shift, none), right = larger(minus(none, shift), none), zero = every(conv->zero_point);
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = plus(multiplied_each(*sums[i], factor, left, right), zero);
    return narrow(y[0], y[1], y[2], y[3]);
}

/* Channels of a vector from c on, of n pixels, whose sums are two vectors apart; narrowed, the lanes of 4 pixels are quads of 4
   planes, so nothing has to be transposed. */
INLINE void finish_row(const strip *at, const rounding *all, int64_t c, const vector *sums, const int n, int64_t place,
                       const int biased, const int exact, const int residual) {
    const ek_conv *conv = at->conv;
    const addition add = addition_of(conv);
    const int64_t stride = conv->output_stride, other_stride = conv->residual_stride;
    const uint8_t *other = at->other + c / EK_QUAD * other_stride + place;
    uint8_t *out = at->out + c / EK_QUAD * stride + place;
    EACH(q, (n + EK_QUAD - 1) / EK_QUAD) {
        const int p = q * EK_QUAD;
        const vector *four[EK_QUAD];
        EACH(i, EK_QUAD) four[i] = sums + 2 * (p + i < n ? p + i : p);
        vector y = exact ? lanes_exact(conv, c, four) : lanes_fast(all, c, four, biased);
        y = clamp(y, all->low, all->high);
        if (residual) y = add_residual(&add, y, load_lanes(other + EK_QUAD * p, other_stride));
        store_lanes(out + EK_QUAD * p, stride, y, n - p);
    }
}

INLINE void finish_strip(const strip *at, const rounding *all, int64_t c, const vector *sums, const int rows,
                         const int n, const int biased, const int exact, const int residual) {
    EACH(r, rows) EACH(half, 2)
    finish_row(at, all, c + half * PIXELS, sums + 2 * r * n + half, n, r * at->row_bytes, biased, exact, residual);
}

/* Sums in memory, for what is rare */
APART void finish_strip_any(const strip *at, int64_t c, const vector *sums, int rows, int n) {
    const ek_conv *conv = at->conv;
    const rounding all = rounding_of(conv);
    LOOP for (int r = 0; r < rows; r++) LOOP for (int p = 0; p < n; p++) {
        strip one = *at;
        const int64_t place = r * at->row_bytes + EK_QUAD * p;
        one.out += place, one.other += place;
        const vector *own = sums + 2 * (r * n + p);
        if (conv->exact && conv->has_residual)
            finish_strip(&one, &all, c, own, 1, 1, 0, 1, 1);
        else if (conv->exact)
            finish_strip(&one, &all, c, own, 1, 1, 0, 1, 0);
        else if (conv->has_residual)
            finish_strip(&one, &all, c, own, 1, 1, 0, 0, 1);
        else
            finish_strip(&one, &all, c, own, 1, 1, 0, 0, 0);
    }
}

/* One entry, for n pixels in each of `rows` rows */
INLINE void add_to_strip(vector *sums, const int rows, const int n, const uint8_t *in, int64_t row_bytes,
                         const int32_t *words) {
    const vector first = load(words), second = load(words + PIXELS);
    const uint8_t *from[2] = {in, in + row_bytes};
    EACH(r, rows) EACH(p, n) {
        const vector x = every_at(from[r] + EK_QUAD * p);
        vector *own = sums + 2 * (r * n + p);
        own[0] = dot(own[0], x, first);
        own[1] = dot(own[1], x, second);
    }
}

/* Lists are long and every quad is in another plane: caches do not see what comes next. */
INLINE void fetch(const int32_t *words, const uint8_t *in, int64_t last, const uint8_t *ahead) {
    EACH(i, ROWS_GROUP * (int)sizeof *words / EK_ALIGNMENT)
    __builtin_prefetch((const uint8_t *)(words + SOON * ROWS_GROUP) + i * EK_ALIGNMENT);
    __builtin_prefetch(in);
    __builtin_prefetch(in + last);
    __builtin_prefetch(ahead, 0, 2);
}

INLINE void add_list_to_strip(vector *sums, const strip *at, int64_t c, const int rows, const int n) {
    const ek_conv *conv = at->conv;
    const int32_t *words = words_of(conv, c), *offset = conv->offsets + conv->starts[c / ROWS_GROUP];
    const int32_t *end = conv->offsets + conv->starts[c / ROWS_GROUP + 1], *final = conv->offsets + conv->offsets_size - 1;
    const uint8_t *in = at->in, *ahead = at->ahead;
    const int64_t row_bytes = at->row_bytes, last = (rows - 1) * row_bytes + (n - 1) * EK_QUAD;
    LOOP for (; offset != end; offset++, words += ROWS_GROUP, ahead += EK_ALIGNMENT) {
        const int32_t *soon = offset + SOON;
        fetch(words, in + *(soon < final ? soon : final), last, ahead);
        add_to_strip(sums, rows, n, in + *offset, row_bytes, words);
    }
}

INLINE void strip_any(const strip *at, int64_t c, const int rows, const int n) {
    const ek_conv *conv = at->conv;
    const rounding all = rounding_of(conv);
    const int ending = ending_of(conv);
    vector sums[2 * ROWS_MOST];
    EACH(p, rows * n) EACH(half, 2) sums[2 * p + half] = load(conv->bias + c + half * PIXELS);
    if (ending == RESIDUAL)
        EACH(q, ROWS_GROUP / EK_QUAD) __builtin_prefetch(at->other + (c / EK_QUAD + q) * conv->residual_stride);
    add_list_to_strip(sums, at, c, rows, n);
    if (ending == PLAIN) {
        finish_strip(at, &all, c, sums, rows, n, 1, 0, 0);
    } else if (ending == RESIDUAL) {
        finish_strip(at, &all, c, sums, rows, n, 1, 0, 1);
    } else {
        vector copy[2 * ROWS_MOST];
        EACH(i, 2 * rows * n) copy[i] = sums[i];
        finish_strip_any(at, c, copy, rows, n);
    }
}

#define DEFINE_STRIP(rows, n) \
    APART void strip_##rows##_##n(const strip *at, int64_t c) { strip_any(at, c, rows, n); }
#define NAME_STRIP(rows, n) [(rows) - 1][(n) - 1] = strip_##rows##_##n,
ROWS_TILES(DEFINE_STRIP)
static strip_fn *const strips[2][ROWS_MOST] = {ROWS_TILES(NAME_STRIP)};

/* The picture's columns [begin, end) of a row that are among the pixels [first, last) */
typedef struct columns {
    int64_t begin, end;
} columns;

INLINE columns columns_of(const ek_margins *m, int64_t row, int64_t first, int64_t last) {
    const int64_t before = row * m->pitch;
    const columns in = {first > before ? first - before : 0, last - before < m->width ? last - before : m->width};
    return (uint32_t)row % (uint32_t)m->period < (uint32_t)m->height && in.begin < in.end ? in : (columns){0, 0};
}

/* In how many strips n pixels of one row are walked, or of two */
INLINE int64_t pieces_of(int64_t n, int rows) {
    return (rows * n + ROWS_MOST - 1) / ROWS_MOST;
}

/* `n` pixels from `pixel` on, in that row or also in the next one, piece by piece; how many pieces */
INLINE int64_t walk_strips(strip at, int64_t c, int64_t pixel, int64_t n, int rows, int64_t part) {
    const int64_t pieces = pieces_of(n, rows);
    at.in += EK_QUAD * pixel, at.other += EK_QUAD * pixel, at.out += EK_QUAD * pixel;
    for (int64_t i = 0; i < pieces; i++, at.ahead += part) {
        const int64_t some = (i + 1) * n / pieces - i * n / pieces;
        strips[rows - 1][some - 1](&at, c);
        at.in += EK_QUAD * some, at.other += EK_QUAD * some, at.out += EK_QUAD * some;
    }
    return pieces;
}

/* Channels c..c+ROWS_GROUP-1 of the pixels [first, last), row by row, or
   two rows at once if that makes fewer strips */
APART void walk_rows(strip at, const ek_margins *m, int64_t c, int64_t first, int64_t last) {
    const int32_t *list = words_of(at.conv, c), *next_list = words_of(at.conv, c + ROWS_GROUP);
    const int64_t part = (next_list - list) / ROWS_GROUP * EK_ALIGNMENT, end = (last + m->pitch - 1) / m->pitch;
    int64_t row = first / m->pitch, done = 0;
    while (row < end) {
        const columns own = columns_of(m, row, first, last), next = columns_of(m, row + 1, first, last);
        const int64_t n = own.end - own.begin;
        const int are_alike = own.begin == next.begin && own.end == next.end;
        const int rows = are_alike && pieces_of(n, 2) < 2 * pieces_of(n, 1) ? 2 : 1;
        at.ahead = (const uint8_t *)next_list + (done < PARTS ? done : PARTS) * part;
        if (n) done += walk_strips(at, c, row * m->pitch + own.begin, n, rows, part);
        row += rows;
    }
}

/* Right margins and those between images, among the pixels [first, last) of the unit's channels */
APART void fill_between(const ek_conv *conv, uint8_t *arena, const ek_margins *m, const ek_conv_unit *unit,
                        int64_t first, int64_t last) {
    for (int64_t row = first / m->pitch; row * m->pitch < last; row++) {
        const int is_picture = row % m->period < m->height;
        const int64_t from = row * m->pitch + (is_picture ? m->width : 0), to = (row + 1) * m->pitch;
        for (int64_t c = unit->begin; c < unit->end; c += EK_QUAD)
            ek_fill_pixels(arena + conv->output + c / EK_QUAD * conv->output_stride, from > first ? from : first,
                           to < last ? to : last, m->word);
    }
}

INLINE void walk_in_rows(const ek_conv *conv, uint8_t *arena, const ek_margins *m, const ek_conv_unit *unit) {
    const int64_t first = unit->first * conv->vector, end = unit->last * conv->vector;
    const int64_t last = end < m->pixels ? end : m->pixels;
    const strip at = {conv, arena + conv->input, arena + conv->residual, arena + conv->output,
                      EK_QUAD * m->pitch, NULL};
    for (int64_t c = unit->begin; c < unit->end; c += ROWS_GROUP) walk_rows(at, m, c, first, last);
    fill_between(conv, arena, m, unit, first, last);
}
