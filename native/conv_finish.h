/* From sums to stored quads, for conv_walk.h. */

#include <string.h>

#include "conv.h"
#include "margin.h"

#define INLINE static inline __attribute__((always_inline)) TARGET
#define APART static __attribute__((noinline)) TARGET
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#define LOOP _Pragma("GCC unroll 1")
enum {
    BYTES = EK_QUAD * PIXELS,
    MOST = 14,       /* vectors in a tile */
    MOST_PLANAR = 4, /* vectors of bytes in a tile of planar input, each worth 4 */
    ABREAST = 2,     /* tiles that are walked channel by channel */
    SOON_LISTED = 64, /* entries between a fetch and its use */
    RUN = 4
};

/* A tile, in all planes */
typedef struct spot {
    const ek_conv *conv;
    const uint8_t *in, *other;
    uint8_t *out;
    int begin, vectors, margin_pixels; /* vectors before `begin` are those of another tile, too */
    uint32_t margin_word;
    int32_t margin[EK_QUAD * MOST_PLANAR * PIXELS + RUN]; /* byte offsets of margin pixels, the last repeated up to a multiple of RUN */
} spot;

/* What is the same for all channels of a tile: read once, for stores of bytes could change anything in memory */
typedef struct rounding {
    const float *scale, *zero_point;
    vector low, high;
    reals zero;
    int is_clamped;
} rounding;

INLINE rounding rounding_of(const ek_conv *conv) {
    return (rounding){.scale = conv->scale,
                      .zero_point = conv->biased_zero_point,
                      .low = every_byte(conv->low),
                      .high = every_byte(conv->high),
                      .zero = every_real((float)conv->zero_point),
                      .is_clamped = conv->low > 0 || conv->high < 255};
}

/* The scales and zero points of 4 channels */
typedef struct factors {
    reals scale[EK_QUAD], zero[EK_QUAD];
} factors;

INLINE factors factors_of(const rounding *all, int64_t c, const int biased) {
    factors own;
    EACH(i, EK_QUAD) {
        own.scale[i] = every_real(all->scale[c + i]);
        own.zero[i] = biased ? every_real(all->zero_point[c + i]) : all->zero;
    }
    return own;
}

/* Sums of 4 channels, n vectors apart, to quads */
INLINE vector quads_fast(const rounding *all, const factors *own, const vector *sums, const int n, const int biased) {
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) {
        reals x = biased ? reals_of_bits(sums[i * n]) : reals_of(sums[i * n]);
        y[i] = scaled(x, own->scale[i], own->zero[i]);
    }
    vector quads = transpose(narrow(y[0], y[1], y[2], y[3]));
    return all->is_clamped ? clamp(quads, all->low, all->high) : quads;
}

INLINE vector quads_exact(const ek_conv *conv, int64_t c, const rounding *all, const vector *sums, const int n) {
    const vector zero = every(conv->zero_point);
    vector y[EK_QUAD];
    EACH(i, EK_QUAD) y[i] = plus(multiplied(sums[i * n], conv->multiplier[c + i], conv->shift[c + i]), zero);
    return clamp(transpose(narrow(y[0], y[1], y[2], y[3])), all->low, all->high);
}

/* The weights with which another tensor is added, its bias and shift */
typedef struct addition {
    vector weights, bias, low, high;
    int32_t shift;
} addition;

INLINE addition addition_of(const ek_conv *conv) {
    return (addition){.weights = every((int32_t)((uint16_t)conv->residual_own | (uint32_t)conv->residual_other << 16)),
                      .bias = every(conv->residual_bias),
                      .low = every_byte(conv->residual_low),
                      .high = every_byte(conv->residual_high),
                      .shift = conv->residual_shift};
}

INLINE vector add_residual(const addition *add, vector own, vector other) {
    const vector none = every(0);
    vector low = interleave_low(own, other), high = interleave_high(own, other);
    vector z[EK_QUAD] = {interleave_low(low, none), interleave_high(low, none), interleave_low(high, none),
                         interleave_high(high, none)};
    EACH(i, EK_QUAD) z[i] = shifted(plus_products(add->bias, z[i], add->weights), add->shift);
    return clamp(narrow(z[0], z[1], z[2], z[3]), add->low, add->high);
}

/* What the vectors have written over; blending them would cost more, as stores are idle here. */
INLINE void restore_margin(const spot *at, uint8_t *out) {
    const uint32_t word = at->margin_word;
    LOOP for (int i = 0; i < at->margin_pixels; i += RUN)
        EACH(j, RUN) memcpy(out + at->margin[i + j], &word, sizeof word);
}

/* Channels c..c+3, whose n sums each follow each other in memory */
INLINE void finish_each(const spot *at, int64_t c, const vector *sums, const int biased, const int exact,
                        const int residual) {
    const ek_conv conv = *at->conv;
    const rounding all = rounding_of(&conv);
    const factors own = factors_of(&all, c, biased);
    const addition add = addition_of(&conv);
    const uint8_t *other = at->other + c / EK_QUAD * conv.residual_stride;
    uint8_t *out = at->out + c / EK_QUAD * conv.output_stride;
    const int n = at->vectors;
    LOOP for (int v = at->begin; v < n; v++) {
        const vector *s = sums + v;
        vector y = exact ? quads_exact(&conv, c, &all, s, n) : quads_fast(&all, &own, s, n, biased);
        store(out + v * BYTES, residual ? add_residual(&add, y, load(other + v * BYTES)) : y);
    }
    restore_margin(at, out);
}

APART void finish_exact(const spot *at, int64_t c, const vector *sums) {
    if (at->conv->has_residual)
        finish_each(at, c, sums, 0, 1, 1);
    else
        finish_each(at, c, sums, 0, 1, 0);
}

APART void finish_fast(const spot *at, int64_t c, const vector *sums) {
    if (at->conv->has_residual)
        finish_each(at, c, sums, 0, 0, 1);
    else
        finish_each(at, c, sums, 0, 0, 0);
}

APART void finish_biased(const spot *at, int64_t c, const vector *sums) {
    if (at->conv->has_residual)
        finish_each(at, c, sums, 1, 0, 1);
    else
        finish_each(at, c, sums, 1, 0, 0);
}

INLINE void finish_any(const spot *at, int64_t c, const vector *sums) {
    if (at->conv->biased)
        finish_biased(at, c, sums);
    else if (at->conv->exact)
        finish_exact(at, c, sums);
    else
        finish_fast(at, c, sums);
}

/* How sums end: in registers if they are biased, which is usual, and else by a call */
enum { BY_CALL, PLAIN, RESIDUAL };

INLINE int ending_of(const ek_conv *conv) {
    return !conv->biased ? BY_CALL : conv->has_residual ? RESIDUAL : PLAIN;
}

/* Channels c..c+3, whose biased sums are in registers */
INLINE void finish_held(const spot *at, const rounding *all, uint8_t *out, int64_t c, const int n, const vector *sums,
                        const int residual) {
    const factors own = factors_of(all, c, 1);
    const addition add = addition_of(at->conv);
    const uint8_t *other = at->other + c / EK_QUAD * at->conv->residual_stride;
    EACH(v, n) {
        vector y = quads_fast(all, &own, sums + v, n, 1);
        store(out + v * BYTES, residual ? add_residual(&add, y, load(other + v * BYTES)) : y);
    }
    restore_margin(at, out);
}

INLINE void finish(const spot *at, const rounding *all, uint8_t *out, int64_t c, const int n, const vector *sums,
                   int ending) {
    if (ending == PLAIN) {
        finish_held(at, all, out, c, n, sums, 0);
    } else if (ending == RESIDUAL) {
        finish_held(at, all, out, c, n, sums, 1);
    } else {
        vector copy[EK_QUAD * MOST];
        EACH(i, EK_QUAD) EACH(v, n) copy[i * n + v] = sums[i * n + v];
        finish_any(at, c, copy);
    }
}
