/* Ways to go over the pixels of a depthwise convolution: see depthwise_walk.h. */

#include "depthwise_plane.h"

/* Makes what `pointer` points to unknown in each round of a loop that changes `other`: else GCC reads words but once, has
   no room for so many and spills them. */
#define KEEP_IN_MEMORY(pointer, other) __asm__("" : "+r"(pointer) : "r"(other))

/* What a function is made for: constants. `halves` of a vector are used with stride 2; `five` says how rows are taken. */
typedef struct form {
    int stride, halves, five, biased, exact;
} form;

/* What there is to do: rows of the input and of the output are so many bytes apart. */
typedef struct column {
    const uint8_t *in;
    uint8_t *out;
    int64_t in_row, out_row;
} column;

typedef void line_fn(const plane *p, const uint8_t *in, uint8_t *out, int64_t pixels);
typedef void down_fn(const plane *p, const uint8_t *in, uint8_t *out, int64_t in_row, int64_t out_row, int64_t n);

/* Sums to 4 stored bytes of each channel */
INLINE vector finish(const ending *to, const vector *sums, const form f) {
    vector y[GROUP];
    EACH(i, GROUP) {
        if (f.stride == 2 && f.halves == 1 && i >= 2)
            y[i] = y[i - 2];
        else if (f.exact)
            y[i] = plus(multiplied_each(sums[i], to->multiplier, to->left, to->right), to->zero);
        else
            y[i] = scaled(f.biased ? reals_of_bits(sums[i]) : reals_of(sums[i]), to->scale, to->zero_point);
    }
    vector bytes = narrow(y[0], y[1], y[2], y[3]);
    bytes = to->is_clamped ? clamp(bytes, to->low, to->high) : bytes;
    return f.stride == 1 ? bytes : part_pairs(bytes);
}

/* Words of a piece */
INLINE int words_of(const form f) {
    return (f.five ? 4 : 1) * (f.stride == 1 ? 2 : 1);
}

/* What a piece of a row meets: the pixels from its first tap on, those two pixels on, and with stride 2 those of the
   other half of the vector. For five taps the second ones are four pixels on, or three. */
typedef struct seen {
    vector pixels[4];
} seen;

INLINE seen look(const uint8_t *x, const form f) {
    const int next = EK_QUAD * (!f.five ? 2 : f.stride == 1 ? 4 : 3);
    seen s = {{quads(load(x)), quads(load(x + next))}};
    if (f.stride == 2 && f.halves == 2) s.pixels[2] = quads(load(x + BYTES)), s.pixels[3] = quads(load(x + BYTES + next));
    return s;
}

/* With those bytes inverted that the piece wants so */
INLINE seen as_wanted(const plane *p, int piece, const seen *s, const form f) {
    seen own = *s;
    (void)p, (void)piece, (void)f;
#ifdef PAIRS_IN_16_BITS
    const vector flip = every_quad(p->flips + piece);
    EACH(i, 2 * f.halves) own.pixels[i] = either(own.pixels[i], flip);
#endif
    return own;
}

/* Its share of the 4 sums */
INLINE void add_three(vector *sums, const __m128i *words, const seen *s, const form f) {
    if (f.stride == 1)
        EACH(i, GROUP) sums[i] = dot(sums[i], s->pixels[i / 2], every_quad(words + i % 2));
    else
        EACH(i, 2 * f.halves) sums[i] = dot(sums[i], s->pixels[i], every_quad(words));
}

INLINE void add_five(vector *sums, const __m128i *words, const seen *s, const form f) {
    EACH(j, 2)
        if (f.stride == 1)
            EACH(i, GROUP) sums[i] = dot(sums[i], s->pixels[j], every_quad(words + 4 * j + i));
        else
            EACH(i, 2 * f.halves) sums[i] = dot(sums[i], s->pixels[i / 2 * 2 + j], every_quad(words + i % 2 * 2 + j));
}

INLINE void add_piece(vector *sums, const plane *p, int piece, const seen *s, const form f) {
    const seen own = as_wanted(p, piece, s, f);
    (f.five ? add_five : add_three)(sums, p->words + piece * words_of(f), &own, f);
}

INLINE void start(const ending *to, vector *sums) {
    EACH(i, GROUP) sums[i] = to->bias[i % 2];
}

INLINE void add(vector *sums, const plane *p, const __m128i *words, int piece, const uint8_t *x, const form f) {
    const seen all = look(x + p->offsets[piece], f), s = as_wanted(p, piece, &all, f);
    (f.five ? add_five : add_three)(sums, words + piece * words_of(f), &s, f);
}

/* Pixels of the output that follow each other; of `fixed` pieces, if that is not 0. The last vector overlaps the one
   before, or is the only one. */
INLINE void line(const plane *p, const uint8_t *in, uint8_t *out, int64_t pixels, const form f, const int fixed) {
    const ending to = p->to;
    const int64_t end = pixels > PIXELS ? pixels - PIXELS : 0;
    const __m128i *words = p->words;
    LOOP for (int64_t x = 0; x < pixels; x += PIXELS) {
        const int64_t at = x < end ? x : end;
        const uint8_t *from = in + EK_QUAD * f.stride * at;
        vector sums[GROUP];
        KEEP_IN_MEMORY(words, from);
        start(&to, sums);
        if (fixed)
            EACH(i, fixed) add(sums, p, words, i, from, f);
        else
            LOOP for (int i = 0; i < p->count; i++) add(sums, p, words, i, from, f);
        store(out + EK_QUAD * at, finish(&to, sums, f));
    }
}

/* Down by one row of the input a vector, with windows of 3 rows of one piece. A row that has been looked at is the last
   one of the oldest sums, the middle one of the next and the first one of the youngest. */
INLINE void next_of_three(const plane *p, const ending *to, column *at, vector *oldest, vector *next, vector *youngest,
                          const form f) {
    const seen s = look(at->in, f);
    add_piece(oldest, p, 2, &s, f);
    add_piece(next, p, 1, &s, f);
    start(to, youngest);
    add_piece(youngest, p, 0, &s, f);
    at->in += at->in_row;
}

INLINE void put(const ending *to, column *at, const vector *sums, const form f) {
    store(at->out, finish(to, sums, f));
    at->out += at->out_row;
}

INLINE void down_by_one(const plane *p, column at, int64_t n, const form f) {
    const ending to = p->to;
    vector one[GROUP], two[GROUP], three[GROUP];
    start(&to, one);
    start(&to, two);
    next_of_three(p, &to, &at, three, one, two, f);
    next_of_three(p, &to, &at, one, two, three, f);
    for (;;) {
        next_of_three(p, &to, &at, two, three, one, f);
        put(&to, &at, two, f);
        if (!--n) return;
        next_of_three(p, &to, &at, three, one, two, f);
        put(&to, &at, three, f);
        if (!--n) return;
        next_of_three(p, &to, &at, one, two, three, f);
        put(&to, &at, one, f);
        if (!--n) return;
    }
}

/* Down by two rows a vector: with stride 2, or vectors of two rows */
INLINE void down_by_two(const plane *p, column at, int64_t n, const form f) {
    const ending to = p->to;
    vector sums[GROUP], next[GROUP];
    start(&to, sums);
    seen s = look(at.in, f);
    add_piece(sums, p, 0, &s, f);
    LOOP for (; n; n--) {
        at.in += 2 * at.in_row;
        s = look(at.in - at.in_row, f);
        add_piece(sums, p, 1, &s, f);
        s = look(at.in, f);
        add_piece(sums, p, 2, &s, f);
        start(&to, next);
        add_piece(next, p, 0, &s, f);
        put(&to, &at, sums, f);
        EACH(i, GROUP) sums[i] = next[i];
    }
}

#if REGISTERS == 32
/* Down by one row, with windows of 5 rows of two pieces */
INLINE void next_of_five(const plane *p, const ending *to, column *at, vector *oldest, vector *second, vector *third,
                         vector *fourth, vector *youngest, const form f) {
    vector *const sums[] = {youngest, fourth, third, second, oldest};
    const __m128i *words = p->words;
    KEEP_IN_MEMORY(words, at->in);
    start(to, youngest);
    EACH(j, 2) {
        const seen s = look(at->in + j * GROUP * EK_QUAD, f);
        EACH(y, 5) add_three(sums[y], words + 2 * (5 * j + y), &s, f);
    }
    at->in += at->in_row;
}

INLINE void down_five(const plane *p, column at, int64_t n, const form f) {
    const ending to = p->to;
    vector a[GROUP], b[GROUP], c[GROUP], d[GROUP], e[GROUP];
    start(&to, a), start(&to, b), start(&to, c), start(&to, d), start(&to, e);
#define STEP(oldest, second, third, fourth, youngest)                            \
    next_of_five(p, &to, &at, oldest, second, third, fourth, youngest, f);       \
    if (--before < 0) {                                                          \
        put(&to, &at, oldest, f);                                                \
        if (!--n) return;                                                        \
    }
    for (int before = 4;;) {
        STEP(a, b, c, d, e)
        STEP(b, c, d, e, a)
        STEP(c, d, e, a, b)
        STEP(d, e, a, b, c)
        STEP(e, a, b, c, d)
    }
#undef STEP
}
#endif

#define LINE(name, ...) \
    APART void name(const plane *p, const uint8_t *in, uint8_t *out, int64_t pixels) { line(p, in, out, pixels, (const form){__VA_ARGS__}, 0); }
#define LINES(kind, ...) LINE(line_##kind, 1, 2, __VA_ARGS__) LINE(far_line_##kind, 2, 2, __VA_ARGS__) LINE(half_line_##kind, 2, 1, __VA_ARGS__)
LINES(fast, 0, 0, 0)
LINES(biased, 0, 1, 0)
LINES(exact, 0, 0, 1)

#define DOWN(name, function, ...) \
    APART void name(const plane *p, const uint8_t *in, uint8_t *out, int64_t in_row, int64_t out_row, int64_t n) { \
        function(p, (column){in, out, in_row, out_row}, n, __VA_ARGS__);                                           \
    }
DOWN(three_down, down_by_one, (const form){1, 2, 0, 1, 0})
DOWN(pairs_down, down_by_two, (const form){1, 2, 0, 1, 0})
DOWN(far_down, down_by_two, (const form){2, 2, 0, 1, 0})
DOWN(half_down, down_by_two, (const form){2, 1, 0, 1, 0})

#if REGISTERS == 32
DOWN(five_down, down_five, (const form){1, 2, 0, 1, 0})
#endif
#if FIVE_TAPS
#define FIVE(name, ...)                                                                          \
    APART void name(const plane *p, const uint8_t *in, uint8_t *out, int64_t pixels) {           \
        if (p->count == 5)                                                                       \
            line(p, in, out, pixels, (const form){__VA_ARGS__}, 5);                              \
        else                                                                                     \
            line(p, in, out, pixels, (const form){__VA_ARGS__}, 0);                              \
    }
FIVE(line_five, 1, 2, 1, 1, 0)
FIVE(far_line_five, 2, 2, 1, 1, 0)
FIVE(half_line_five, 2, 1, 1, 1, 0)
#endif
