/* Sums, products and tables on planes, AVX2. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))

#include "rows_avx2.h"

#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)

/* The bytes of a vector as four of 32 bits, in the order that narrow() brings back */
typedef struct wide {
    vector part[4];
} wide;

VECTOR wide widened(vector bytes) {
    const vector none = every(0);
    vector low = interleave_low(bytes, none), high = interleave_high(bytes, none);
    return (wide){{_mm256_unpacklo_epi16(low, none), _mm256_unpackhi_epi16(low, none), _mm256_unpacklo_epi16(high, none),
                   _mm256_unpackhi_epi16(high, none)}};
}

VECTOR vector narrowed(const wide *w) {
    return narrow(w->part[0], w->part[1], w->part[2], w->part[3]);
}

VECTOR vector add_fast(const ek_add_planes *op, vector a, vector b) {
    const vector none = every(0), bias = every(op->bias);
    const vector weights = every((int32_t)((uint16_t)op->first_weight | (uint32_t)op->second_weight << 16));
    vector low = interleave_low(a, b), high = interleave_high(a, b);
    wide z = {{interleave_low(low, none), interleave_high(low, none), interleave_low(high, none),
               interleave_high(high, none)}};
    EACH(i, 4) z.part[i] = shifted(plus_products(bias, z.part[i], weights), op->shift);
    return narrowed(&z);
}

VECTOR vector add_exactly(const ek_add_planes *op, vector a, vector b) {
    wide x = widened(a), y = widened(b);
    EACH(i, 4) {
        vector first = _mm256_slli_epi32(minus(x.part[i], every(op->first_zero)), 20);
        vector second = _mm256_slli_epi32(minus(y.part[i], every(op->second_zero)), 20);
        first = multiplied(first, op->first_weight, op->first_shift);
        second = multiplied(second, op->second_weight, op->second_shift);
        vector sum = op->subtract ? minus(first, second) : plus(first, second);
        x.part[i] = plus(multiplied(sum, op->multiplier, op->shift), every(op->zero_point));
    }
    return narrowed(&x);
}

VECTOR void add_plane(const ek_add_planes *shared, const uint8_t *a, const uint8_t *b, uint8_t *out, int64_t bytes,
                      const int exact) {
    const ek_add_planes op = *shared; /* stores of bytes could change anything but a copy */
    const vector low = every_byte(op.low), high = every_byte(op.high);
    for (int64_t i = 0; i < bytes; i += BYTES) {
        vector x = load(a + i), y = load(b + i);
        store(out + i, clamp(exact ? add_exactly(&op, x, y) : add_fast(&op, x, y), low, high));
    }
}

TARGET void ek_add_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_add_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *a = arena + op->first + q * op->first_stride, *b = arena + op->second + q * op->second_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        if (op->exact)
            add_plane(op, a, b, out, EK_QUAD * margins.pixels, 1);
        else
            add_plane(op, a, b, out, EK_QUAD * margins.pixels, 0);
        fill(out - EK_QUAD * margins.before, margins.before, margins.word);
        fill(out + EK_QUAD * margins.pixels, margins.after, margins.word);
    }
}

/* Bytes less a zero point, as two vectors of 16 bits */
typedef struct halves {
    vector low, high;
} halves;

VECTOR halves less(vector bytes, vector zero_point) {
    const vector none = every(0);
    return (halves){_mm256_sub_epi16(interleave_low(bytes, none), zero_point),
                    _mm256_sub_epi16(interleave_high(bytes, none), zero_point)};
}

VECTOR wide products_of(halves a, halves b) {
    const vector none = every(0);
    return (wide){{products(_mm256_unpacklo_epi16(a.low, none), _mm256_unpacklo_epi16(b.low, none)),
                   products(_mm256_unpackhi_epi16(a.low, none), _mm256_unpackhi_epi16(b.low, none)),
                   products(_mm256_unpacklo_epi16(a.high, none), _mm256_unpacklo_epi16(b.high, none)),
                   products(_mm256_unpackhi_epi16(a.high, none), _mm256_unpackhi_epi16(b.high, none))}};
}

/* One image; `b` steps from vector to vector, or stays where it is */
VECTOR void multiply_image(const ek_mul_planes *shared, const uint8_t *a, const uint8_t *b, uint8_t *out, int64_t bytes,
                           const int exact) {
    const ek_mul_planes op = *shared;
    const vector low = every_byte(op.low), high = every_byte(op.high), zero = every(op.zero_point);
    const vector zero_a = _mm256_set1_epi16((int16_t)op.first_zero), zero_b = _mm256_set1_epi16((int16_t)op.second_zero);
    int32_t quad;
    memcpy(&quad, b, sizeof quad);
    const vector single = every(quad);
    for (int64_t i = 0; i < bytes; i += BYTES) {
        wide p = products_of(less(load(a + i), zero_a), less(op.second_step ? single : load(b + i), zero_b));
        EACH(k, 4) {
            p.part[k] = exact ? plus(multiplied(p.part[k], op.multiplier, op.shift), zero)
                              : scaled(reals_of(p.part[k]), every_real(op.scale), every_real((float)op.zero_point));
        }
        store(out + i, clamp(narrowed(&p), low, high));
    }
}

TARGET void ek_mul_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mul_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t image = EK_QUAD * (int64_t)op->period * op->output_pitch;
    const int64_t step = op->second_step ? EK_QUAD * (int64_t)op->second_step : image;
    const int64_t bytes = EK_QUAD * (int64_t)op->height * op->output_pitch;
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *a = arena + op->first + q * op->first_stride, *b = arena + op->second + q * op->second_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++) {
            if (op->exact)
                multiply_image(op, a + i * image, b + i * step, out + i * image, bytes, 1);
            else
                multiply_image(op, a + i * image, b + i * step, out + i * image, bytes, 0);
        }
        restore(&margins, out);
    }
}

typedef union lookup {
    struct {
        uint8_t base[16], slope[16], bend[16], bow[16], extra[2][16];
    } pieces;
    uint8_t steps[256];
} lookup;

/* What each 16 of a table change against the 16 before them, in each half of the table */
static void take_steps(const uint8_t *table, uint8_t *steps) {
    for (int i = 0; i < 256; i++) steps[i] = i % 128 < 16 ? table[i] : table[i] ^ table[i - 16];
}

/* A shuffle picks by the lower four bits, and nothing where the index is negative. The index falls by 16 for each 16 of
   the table, so that the steps up to the byte's own 16 are taken and no others; the upper half's turn comes with the
   sign turned over. (The idea is Wojciech Mula's.) */
VECTOR vector by_steps(const lookup *by, vector bytes) {
    vector found = every(0);
    EACH(half, 2) {
        vector index = half ? _mm256_xor_si256(bytes, every_byte(0x80)) : bytes;
        EACH(i, 8) {
            found = _mm256_xor_si256(found, _mm256_shuffle_epi8(every_quad(by->steps + 128 * half + 16 * i), index));
            index = _mm256_subs_epi8(index, every_byte(16));
        }
    }
    return found;
}

/* Where among its 256 bits a table has a 1, all bits of the byte are set */
VECTOR vector extras(const lookup *by, vector bytes, vector piece) {
    const vector of_piece = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    vector lower = _mm256_shuffle_epi8(every_quad(by->pieces.extra[0]), bytes);
    vector upper = _mm256_shuffle_epi8(every_quad(by->pieces.extra[1]), _mm256_xor_si256(bytes, every_byte(0x80)));
    vector bit = _mm256_shuffle_epi8(of_piece, piece);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_or_si256(lower, upper), bit), bit);
}

VECTOR vector by_pieces(const lookup *by, vector bytes) {
    const vector nibble = every_byte(15);
    vector piece = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble), place = _mm256_and_si256(bytes, nibble);
    vector slope = _mm256_shuffle_epi8(every_quad(by->pieces.slope), piece);
    vector bend = _mm256_shuffle_epi8(every_quad(by->pieces.bend), piece);
    vector bow = _mm256_shuffle_epi8(every_quad(by->pieces.bow), place);
    vector low = _mm256_maddubs_epi16(interleave_low(place, bow), interleave_low(slope, bend));
    vector high = _mm256_maddubs_epi16(interleave_high(place, bow), interleave_high(slope, bend));
    vector risen = _mm256_packs_epi16(_mm256_srai_epi16(low, EK_PIECE_SHIFT), _mm256_srai_epi16(high, EK_PIECE_SHIFT));
    vector smooth = _mm256_add_epi8(_mm256_shuffle_epi8(every_quad(by->pieces.base), piece), risen);
    return _mm256_sub_epi8(smooth, extras(by, bytes, piece));
}

VECTOR void look_up(const lookup *by, const int in_pieces, const uint8_t *in, uint8_t *out, int64_t bytes) {
    const lookup own = *by; /* stores of bytes could change anything but a copy */
    for (int64_t i = 0; i < bytes; i += BYTES)
        store(out + i, in_pieces ? by_pieces(&own, load(in + i)) : by_steps(&own, load(in + i)));
}

TARGET void ek_lut_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_lut_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t bytes = EK_QUAD * margins.pixels;
    lookup by;
    if (op->pieces_size)
        memcpy(&by.pieces, op->pieces, sizeof by.pieces);
    else if (op->table_size)
        take_steps(op->table, by.steps);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        if (op->pieces_size)
            look_up(&by, 1, in, out, bytes);
        else if (op->table_size)
            look_up(&by, 0, in, out, bytes);
        else
            memcpy(out, in, (size_t)bytes);
        restore(&margins, out);
    }
}

#endif
