/* From sums to stored quads, for conv_walk.h. */

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

/* What becomes of the sums of 4 channels: read once, for stores of bytes could change anything */
typedef struct ending {
    uint8_t *out;
    const uint32_t *picture;
    reals scale[EK_QUAD], zero;
    vector low, high, margin;
    int is_clamped, has_margin;
} ending;

INLINE ending ending_of(const spot *at, int64_t c) {
    const ek_conv *conv = at->conv;
    ending to = {.out = at->out + c / EK_QUAD * conv->output_stride,
                 .picture = at->picture,
                 .zero = every_real((float)conv->zero_point),
                 .low = every_byte(conv->low),
                 .high = every_byte(conv->high),
                 .margin = every_byte(conv->has_residual ? conv->residual_zero_point : conv->zero_point),
                 .is_clamped = conv->low > 0 || conv->high < 255,
                 .has_margin = at->has_margin};
    EACH(i, EK_QUAD) to.scale[i] = every_real(conv->scale[c + i]);
    return to;
}

/* Sums of 4 channels to quads */
INLINE vector quads_fast(const ending *to, vector a, vector b, vector c, vector d) {
    vector quads = transpose(narrow(scaled(a, to->scale[0], to->zero), scaled(b, to->scale[1], to->zero),
                                    scaled(c, to->scale[2], to->zero), scaled(d, to->scale[3], to->zero)));
    return to->is_clamped ? clamp(quads, to->low, to->high) : quads;
}

/* Stores vector v of a plane, its margin pixels replaced. */
INLINE void put(const ending *to, int v, vector quads) {
    if (to->has_margin) quads = choose(load(to->picture + v * PIXELS), quads, to->margin);
    store(to->out + v * BYTES, quads);
}

INLINE vector quads_exact(const ek_conv *conv, int64_t c, const ending *to, const vector *sums, const int n) {
    const vector zero = every(conv->zero_point);
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = plus(multiplied(sums[i * n], conv->multiplier[c + i], conv->shift[c + i]), zero);
    return clamp(transpose(narrow(y[0], y[1], y[2], y[3])), to->low, to->high);
}

INLINE vector add_residual(const ek_conv *conv, vector own, vector other) {
    const vector none = every(0), bias = every(conv->residual_bias);
    const vector weights = every((int32_t)((uint16_t)conv->residual_own | (uint32_t)conv->residual_other << 16));
    vector low = interleave_low(own, other), high = interleave_high(own, other);
    vector z[EK_QUAD] = {interleave_low(low, none), interleave_high(low, none), interleave_low(high, none),
                         interleave_high(high, none)};
    EACH(i, EK_QUAD) z[i] = shifted(plus(products(z[i], weights), bias), conv->residual_shift);
    return clamp(narrow(z[0], z[1], z[2], z[3]), every_byte(conv->residual_low), every_byte(conv->residual_high));
}

INLINE void finish_each(const spot *at, int64_t c, const vector *sums, const int exact, const int residual) {
    const ending to = ending_of(at, c);
    const ek_conv conv = *at->conv;
    const uint8_t *other = at->other + c / EK_QUAD * conv.residual_stride;
    const int n = at->vectors;
    LOOP for (int v = 0; v < n; v++) {
        const vector *s = sums + v;
        vector y = exact ? quads_exact(&conv, c, &to, s, n) : quads_fast(&to, s[0], s[n], s[2 * n], s[3 * n]);
        put(&to, v, residual ? add_residual(&conv, y, load(other + v * BYTES)) : y);
    }
}

/* Channels c..c+3, whose sums follow each other in memory */
APART void finish_any(const spot *at, int64_t c, const vector *sums) {
    const ek_conv *conv = at->conv;
    if (conv->exact && conv->has_residual)
        finish_each(at, c, sums, 1, 1);
    else if (conv->exact)
        finish_each(at, c, sums, 1, 0);
    else if (conv->has_residual)
        finish_each(at, c, sums, 0, 1);
    else
        finish_each(at, c, sums, 0, 0);
}

/* Channels c..c+3, whose sums are in registers */
INLINE void finish(const spot *at, int64_t c, const int n, const vector *sums) {
    if (at->conv->exact || at->conv->has_residual) {
        vector copy[EK_QUAD * MOST];
        EACH(i, EK_QUAD) EACH(v, n) copy[i * n + v] = sums[i * n + v];
        finish_any(at, c, copy);
        return;
    }
    const ending to = ending_of(at, c);
    EACH(v, n) put(&to, v, quads_fast(&to, sums[v], sums[n + v], sums[2 * n + v], sums[3 * n + v]));
}
