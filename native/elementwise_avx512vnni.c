/* Tables on planes, AVX512: by VBMI, whose permutation of bytes finds one of 128 by the lower seven bits, or by
   that of words, which finds one of 64 pairs of bytes. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define TARGET_VBMI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")))

#include "rows_avx2.h"

enum { WIDE = 64 };

typedef void look_up_fn(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t bytes);

TARGET_VBMI static void look_up_bytes(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t bytes) {
    __m512i part[4];
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + WIDE * i);
    for (int64_t i = 0; i < bytes; i += WIDE) {
        __m512i index = _mm512_loadu_si512(in + i);
        __m512i lower = _mm512_permutex2var_epi8(part[0], index, part[1]);
        __m512i upper = _mm512_permutex2var_epi8(part[2], index, part[3]);
        _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), lower, upper));
    }
}

/* The pairs of bytes of which each word's lower seven bits say the number; `is_upper` where it is 64 or more */
VECTOR __m512i pairs(const __m512i part[4], __m512i number, __mmask32 is_upper) {
    __m512i lower = _mm512_permutex2var_epi16(part[0], number, part[1]);
    __m512i upper = _mm512_permutex2var_epi16(part[2], number, part[3]);
    return _mm512_mask_blend_epi16(is_upper, lower, upper);
}

TARGET static void look_up_words(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t bytes) {
    const __m512i seven = _mm512_set1_epi16(0x7F), last_low = _mm512_set1_epi16(1), last_high = _mm512_set1_epi16(256);
    __m512i part[4];
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + WIDE * i);
    for (int64_t i = 0; i < bytes; i += WIDE) {
        __m512i index = _mm512_loadu_si512(in + i);
        __m512i low = pairs(part, _mm512_and_si512(_mm512_srli_epi16(index, 1), seven),
                            _mm512_movepi16_mask(_mm512_slli_epi16(index, 8)));
        __m512i high = pairs(part, _mm512_srli_epi16(index, 9), _mm512_movepi16_mask(index));
        low = _mm512_mask_srli_epi16(low, _mm512_test_epi16_mask(index, last_low), low, 8);
        high = _mm512_mask_slli_epi16(high, _mm512_testn_epi16_mask(index, last_high), high, 8);
        _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAA, low, high));
    }
}

ek_kernel_fn ek_lut_planes__avx2;

TARGET static void look_up_planes(const void *op_, uint8_t *arena, int64_t begin, int64_t end, look_up_fn *look_up) {
    const ek_lut_planes *op = op_;
    if (!op->table_size) {
        ek_lut_planes__avx2(op, arena, begin, end);
        return;
    }
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        uint8_t *out = arena + op->output + q * op->output_stride;
        look_up(op->table, arena + op->input + q * op->input_stride, out, EK_QUAD * margins.pixels);
        restore(&margins, out);
    }
}

void ek_lut_planes__avx512vnni(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    look_up_planes(op, arena, begin, end, look_up_words);
}

void ek_lut_planes__avx512vbmi(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    look_up_planes(op, arena, begin, end, look_up_bytes);
}

#endif
