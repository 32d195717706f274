/* Pools and means of planes, AVX2. A row of windows is first taken down its rows, then along. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))

#include "rows_avx2.h"

enum {
    MOST_PIXELS = 512, /* of a row, with what lies beside it */
    MOST_AREA = 256,   /* of the windows of averages: sums of 16 bits */
    MOST_ADDED = 256   /* bytes that 16 bits hold the sum of */
};

/* The rows of a window that lie in the input */
typedef struct window {
    const uint8_t *in;
    int64_t rows, pitch; /* bytes from one to the next */
} window;

VECTOR window window_at(const ek_pool_planes *op, const uint8_t *in, int64_t y) {
    const int64_t top = y * op->stride_y - op->top, bottom = top + op->window_height, pitch = EK_QUAD * op->input_pitch;
    const int64_t first = top < 0 ? 0 : top, last = bottom < op->rows ? bottom : op->rows;
    return (window){in + first * pitch, last - first, pitch};
}

/* What rows of windows are made of. Rows have `left` pixels before those of the input and some behind them, which are 0:
   in no window's favour. */
typedef struct pool {
    int64_t left, columns, taps, stride, width; /* pixels */
    int64_t counted;                            /* rows of the windows that the next three are for */
    uint16_t offset[EK_QUAD * MOST_PIXELS];     /* what stored bytes have more than their values */
    float half[EK_QUAD * MOST_PIXELS], inverse[EK_QUAD * MOST_PIXELS];
    uint8_t bytes[EK_QUAD * MOST_PIXELS], even[EK_QUAD * MOST_PIXELS], odd[EK_QUAD * MOST_PIXELS];
    uint16_t sums[EK_QUAD * MOST_PIXELS], along[EK_QUAD * MOST_PIXELS];
} pool;

/* Pixels [x, x + 8) of the input's columns, 0 behind the last one */
VECTOR vector load_columns(const uint8_t *row, int64_t x, int64_t columns) {
    const vector number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), left = every((int32_t)(columns - x));
    return _mm256_maskload_epi32((const int *)(row + EK_QUAD * x), _mm256_cmpgt_epi32(left, number));
}

VECTOR void maximum_down(pool *p, const window *w) {
    for (int64_t x = 0; x < p->columns; x += PIXELS) {
        vector most = load_columns(w->in, x, p->columns);
        for (int64_t y = 1; y < w->rows; y++)
            most = _mm256_max_epu8(most, load_columns(w->in + y * w->pitch, x, p->columns));
        store(p->bytes + EK_QUAD * (p->left + x), most);
    }
}

/* The largest of `taps` pixels from each of 8 on */
VECTOR vector maximum_along(const uint8_t *x, int64_t taps) {
    vector most = load(x);
    for (int64_t tap = 1; tap < taps; tap++) most = _mm256_max_epu8(most, load(x + EK_QUAD * tap));
    return most;
}

/* With stride 2 the even pixels and the odd ones go apart, so that all that a vector of windows needs is a vector. */
VECTOR vector maximum_of_pairs(const pool *p, int64_t x) {
    vector most = maximum_along(p->even + EK_QUAD * x, (p->taps + 1) / 2);
    if (p->taps < 2) return most;
    return _mm256_max_epu8(most, maximum_along(p->odd + EK_QUAD * x, p->taps / 2));
}

VECTOR void part(pool *p) {
    const int64_t pixels = p->width + p->taps / 2;
    for (int64_t x = 0; x < pixels; x += PIXELS) {
        const uint8_t *in = p->bytes + 2 * EK_QUAD * x;
        store(p->even + EK_QUAD * x, every_second(load(in), load(in + BYTES)));
        store(p->odd + EK_QUAD * x, every_second(load(in + EK_QUAD), load(in + BYTES + EK_QUAD)));
    }
}

VECTOR void maximum_row(pool *p, const window *w, uint8_t *out, vector low, vector high) {
    maximum_down(p, w);
    if (p->stride == 2) part(p);
    for (int64_t x = 0; x < p->width; x += PIXELS) {
        vector most = p->stride == 2 ? maximum_of_pairs(p, x) : maximum_along(p->bytes + EK_QUAD * x, p->taps);
        store_some(out + EK_QUAD * x, clamp(most, low, high), p->width - x);
    }
}

VECTOR void sum_down(pool *p, const window *w) {
    for (int64_t x = 0; x < p->columns; x += PIXELS) {
        vector low = every(0), high = every(0), none = every(0);
        for (int64_t y = 0; y < w->rows; y++) {
            vector pixels = load_columns(w->in + y * w->pitch, x, p->columns);
            low = _mm256_add_epi16(low, interleave_low(pixels, none));
            high = _mm256_add_epi16(high, interleave_high(pixels, none));
        }
        uint16_t *sums = p->sums + EK_QUAD * (p->left + x);
        store(sums, _mm256_permute2x128_si256(low, high, 0x20));
        store(sums + 16, _mm256_permute2x128_si256(low, high, 0x31));
    }
}

/* Sums of `taps` pixels from each on; then only those of every second one if the stride is 2 */
VECTOR void sum_along(pool *p) {
    const int64_t pixels = (p->width - 1) * p->stride + 1;
    for (int64_t i = 0; i < EK_QUAD * pixels; i += 2 * PIXELS) {
        vector sum = load(p->sums + i);
        for (int64_t tap = 1; tap < p->taps; tap++) sum = _mm256_add_epi16(sum, load(p->sums + i + EK_QUAD * tap));
        store(p->along + i, sum);
    }
    if (p->stride == 2)
        for (int64_t x = 1; x < p->width; x++)
            memcpy(p->along + EK_QUAD * x, p->along + 2 * EK_QUAD * x, EK_QUAD * sizeof *p->along);
}

/* For windows over so many rows: what each sum is divided by and rounded with */
VECTOR void count(pool *p, int64_t rows) {
    if (rows == p->counted) return;
    p->counted = rows;
    for (int64_t x = 0; x < p->width; x++) {
        const int64_t first = x * p->stride - p->left, last = first + p->taps;
        const int64_t columns = (last < p->columns ? last : p->columns) - (first > 0 ? first : 0), all = rows * columns;
        for (int64_t i = EK_QUAD * x; i < EK_QUAD * (x + 1); i++) {
            p->offset[i] = (uint16_t)(EK_FLIP * all);
            p->half[i] = (float)(all / 2) + 0.5f;
            p->inverse[i] = 1 / (float)all;
        }
    }
}

VECTOR vector quotients(const pool *p, __m128i numbers, int64_t i) {
    __m256 x = _mm256_add_ps(reals_of(_mm256_cvtepu16_epi32(numbers)), _mm256_loadu_ps(p->half + i));
    return _mm256_cvttps_epi32(_mm256_mul_ps(x, _mm256_loadu_ps(p->inverse + i)));
}

/* Averages of 4 pixels, to nearest, ties away from zero. The half that is added, and half of the least difference from
   one quotient to the next, make up for the inverse's error. */
VECTOR vector averages(const pool *p, int64_t i) {
    const vector sums = _mm256_sub_epi16(load(p->along + i), load(p->offset + i)), most = _mm256_abs_epi16(sums);
    const vector low = quotients(p, _mm256_castsi256_si128(most), i);
    const vector high = quotients(p, _mm256_extracti128_si256(most, 1), i + PIXELS);
    const vector rounded = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    return _mm256_add_epi16(_mm256_sign_epi16(rounded, sums), _mm256_set1_epi16(EK_FLIP));
}

VECTOR void average_row(pool *p, const window *w, uint8_t *out, vector low, vector high) {
    sum_down(p, w);
    sum_along(p);
    count(p, w->rows);
    for (int64_t x = 0; x < p->width; x += PIXELS) {
        vector first = averages(p, EK_QUAD * x), second = averages(p, EK_QUAD * x + 2 * PIXELS);
        vector bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(first, second), 0xD8);
        store_some(out + EK_QUAD * x, clamp(bytes, low, high), p->width - x);
    }
}

VECTOR void pool_plane(const ek_pool_planes *op, const ek_margins *m, pool *p, const uint8_t *in, uint8_t *out) {
    const int64_t in_image = EK_QUAD * (int64_t)op->input_period * op->input_pitch;
    const vector low = every_byte(op->low), high = every_byte(op->high);
    for (int64_t i = 0; i < op->images; i++)
        for (int64_t y = 0; y < m->height; y++) {
            uint8_t *row = out + EK_QUAD * (i * m->period + y) * m->pitch;
            const window w = window_at(op, in + i * in_image, y);
            if (op->average)
                average_row(p, &w, row, low, high);
            else
                maximum_row(p, &w, row, low, high);
        }
    restore(m, out);
}

/* Whether rows have room, and sums 16 bits */
static int fits(const ek_pool_planes *op) {
    const int64_t in = op->left + op->columns + PIXELS, area = (int64_t)op->window_height * op->window_width;
    const int64_t out = (op->width + PIXELS) * (int64_t)op->stride_x + op->window_width + 2 * PIXELS;
    return op->stride_x <= 2 && in <= MOST_PIXELS && out <= MOST_PIXELS && (!op->average || area <= MOST_AREA);
}

TARGET void ek_pool_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pool_planes *op = op_;
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    if (!fits(op)) {
        ek_pool_planes__scalar(op, arena, begin, end);
        return;
    }
    pool p;
    p.left = op->left, p.columns = op->columns, p.taps = op->window_width, p.stride = op->stride_x, p.width = op->width;
    p.counted = 0;
    memset(p.bytes, 0, sizeof p.bytes);
    memset(p.sums, 0, sizeof p.sums);
    for (int64_t q = begin; q < end; q++)
        pool_plane(op, &margins, &p, arena + op->input + q * op->input_stride,
                   arena + op->output + q * op->output_stride);
}

/* Sums of channels 0 and 2, and of 1 and 3 */
typedef struct sums {
    vector even, odd;
} sums;

VECTOR void add_pixels(sums *s, vector pixels) {
    s->even = _mm256_add_epi16(s->even, _mm256_and_si256(pixels, every(0x00FF00FF)));
    s->odd = _mm256_add_epi16(s->odd, _mm256_srli_epi16(pixels, 8));
}

/* The sums of 4 channels */
VECTOR __m128i total(const sums *s) {
    const vector low = every(0xFFFF);
    vector a = _mm256_and_si256(s->even, low), c = _mm256_srli_epi32(s->even, 16);
    vector b = _mm256_and_si256(s->odd, low), d = _mm256_srli_epi32(s->odd, 16);
    vector all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

VECTOR __m128i sum_image(const ek_mean_planes *op, const uint8_t *in) {
    const int64_t pitch = EK_QUAD * op->input_pitch, width = op->width;
    sums s = {every(0), every(0)};
    __m128i all = _mm_setzero_si128();
    int64_t added = 0;
    for (int64_t y = 0; y < op->height; y++, in += pitch)
        for (int64_t x = 0; x < width; x += PIXELS) {
            add_pixels(&s, load_columns(in, x, width));
            if (++added < MOST_ADDED) continue;
            all = _mm_add_epi32(all, total(&s));
            s = (sums){every(0), every(0)};
            added = 0;
        }
    return _mm_add_epi32(all, total(&s));
}

/* Sums to int8 */
VECTOR int32_t means(const ek_mean_planes *op, __m128i sum) {
    const vector biased = plus(_mm256_castsi128_si256(sum), every(op->bias));
    const vector y = plus(multiplied(biased, op->multiplier, op->shift), every(op->zero_point));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(y), _mm256_castsi256_si128(y));
    return _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
}

TARGET void ek_mean_planes__avx2(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_mean_planes op = *(const ek_mean_planes *)op_;
    const int64_t image = EK_QUAD * (int64_t)op.period * op.input_pitch;
    for (int64_t q = begin; q < end; q++)
        for (int64_t i = 0; i < op.images; i++) {
            const int64_t c = q * EK_QUAD, count = op.channels - c < EK_QUAD ? op.channels - c : EK_QUAD;
            const int32_t bytes = means(&op, sum_image(&op, arena + op.input + q * op.input_stride + i * image));
            uint8_t *out = arena + op.output + i * op.channels + c;
            if (count == EK_QUAD)
                memcpy(out, &bytes, EK_QUAD);
            else
                memcpy(out, &bytes, (size_t)count);
        }
}

#endif
