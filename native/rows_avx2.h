/* Rows of pixels, AVX2: exactly so many are written. */

#include <string.h>

#include "margin.h"
#include "vector_ymm.h"

enum { BYTES = EK_QUAD * PIXELS };

/* The first of a vector's pixels, 1 to all */
VECTOR void store_some(uint8_t *out, vector pixels, int64_t count) {
    if (count >= PIXELS)
        store(out, pixels);
    else
        store_first(out, pixels, count);
}

VECTOR void fill(uint8_t *out, int64_t pixels, uint32_t word) {
    for (; pixels > 0; pixels -= PIXELS, out += BYTES) store_some(out, every((int32_t)word), pixels);
}

/* Every second of the pixels of two vectors */
VECTOR vector every_second(vector a, vector b) {
    __m256 pairs = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(pairs), 0xD8);
}

/* Every second pixel, from the first on; reads up to 16 pixels more */
VECTOR void pick_two(const uint8_t *in, uint8_t *out, int64_t pixels) {
    for (int64_t x = 0; x < pixels; x += PIXELS) {
        const uint8_t *from = in + 2 * EK_QUAD * x;
        store_some(out + EK_QUAD * x, every_second(load(from), load(from + BYTES)), pixels - x);
    }
}

/* Pixels of two rows by turns, so many in all; of either row up to 8 more are read */
VECTOR void join_two(const uint8_t *first, const uint8_t *second, uint8_t *out, int64_t pixels) {
    for (int64_t x = 0; x < pixels; x += 2 * PIXELS, first += BYTES, second += BYTES) {
        const vector a = load(first), b = load(second);
        const vector low = _mm256_unpacklo_epi32(a, b), high = _mm256_unpackhi_epi32(a, b);
        store_some(out + EK_QUAD * x, _mm256_permute2x128_si256(low, high, 0x20), pixels - x);
        if (x + PIXELS < pixels)
            store_some(out + EK_QUAD * x + BYTES, _mm256_permute2x128_si256(low, high, 0x31), pixels - x - PIXELS);
    }
}

/* All margins of a plane */
VECTOR void restore(const ek_margins *m, uint8_t *plane) {
    fill(plane - EK_QUAD * m->before, m->before, m->word);
    ek_fill_margins(m, plane);
    fill(plane + EK_QUAD * m->pixels, m->after, m->word);
}
