/* Convolutions on planes, AVX2. vpmaddubsw adds pairs of products in 16 bits, and where the weights' packer found that
   this cannot overflow, those of 2 or 4 entries are added in 16 bits, too, before they are widened. Where even one pair could overflow, one of
   its bytes is inverted: the difference that becomes of the sum cannot. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))
#define HAS_RUNS

#include "conv_ymm.h"

#define RUN_SINGLES(TILE)                                                                              \
    TILE(wide_runs, 1) TILE(wide_runs, 2) TILE(wide_runs, 3) TILE(wide_runs, 4) TILE(wide_runs, 5)     \
    TILE(wide_runs, 6) TILE(wide_runs, 7) TILE(wide_runs, 8) TILE(wide_runs, 9) TILE(wide_runs, 10)    \
    TILE(wide_runs, 11) TILE(wide_runs, 12) TILE(wide_runs, 13) TILE(wide_runs, 14)
#define RUN_FOURS(TILE) TILE(fours_runs, 1) TILE(fours_runs, 2) TILE(fours_runs, 3)
#define RUN_EIGHTS(TILE) TILE(eights_runs, 1)

#include "conv_finish.h"

INLINE void add_run(vector *sums, const int rows, const int n, const uint8_t *in, const int32_t *entry, const int run) {
    const vector ones = _mm256_set1_epi16(1);
    EACH(r, rows) {
        __asm__("" : "+r"(in)); /* load again: registers are for sums */
        vector words[4];
        EACH(k, run) words[k] = every(entry[k * (1 + rows) + 1 + r]);
        EACH(v, n) {
            vector pairs = _mm256_maddubs_epi16(load(in + entry[0] + v * BYTES), words[0]);
            EACH(k, run - 1) {
                const uint8_t *next = in + entry[(k + 1) * (1 + rows)];
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(load(next + v * BYTES), words[k + 1]));
            }
            sums[r * n + v] = _mm256_add_epi32(sums[r * n + v], _mm256_madd_epi16(pairs, ones));
        }
    }
}

INLINE void add_flipped(vector *sums, const int rows, const int n, const uint8_t *in, const int32_t *entry) {
    const vector ones = _mm256_set1_epi16(1), odd = _mm256_set1_epi16((int16_t)0xFF00);
    EACH(r, rows) {
        __asm__("" : "+r"(in)); /* load again, as above */
        const vector word = every(entry[1 + r]);
        EACH(v, n) {
            vector pairs = _mm256_maddubs_epi16(_mm256_xor_si256(load(in + entry[0] + v * BYTES), odd), word);
            sums[r * n + v] = _mm256_add_epi32(sums[r * n + v], _mm256_madd_epi16(pairs, ones));
        }
    }
}

VECTOR vector dot(vector sums, vector x, vector word) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(x, word), _mm256_set1_epi16(1)));
}

#include "conv_walk.h"

CONV(avx2)

#endif
