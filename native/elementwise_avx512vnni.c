/* Tables on planes, AVX512 with VBMI, whose permutation of bytes finds one of 128 by the lower seven bits. */

#include "ops.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")))

#include "rows_avx2.h"

enum { WIDE = 64 };

VECTOR void look_up(const uint8_t *table, const uint8_t *in, uint8_t *out, int64_t bytes) {
    __m512i part[4];
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + WIDE * i);
    for (int64_t i = 0; i < bytes; i += WIDE) {
        __m512i index = _mm512_loadu_si512(in + i);
        __m512i lower = _mm512_permutex2var_epi8(part[0], index, part[1]);
        __m512i upper = _mm512_permutex2var_epi8(part[2], index, part[3]);
        _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), lower, upper));
    }
}

TARGET static void look_up_planes(const ek_lut_planes *op, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        uint8_t *out = arena + op->output + q * op->output_stride;
        look_up(op->table, arena + op->input + q * op->input_stride, out, EK_QUAD * margins.pixels);
        restore(&margins, out);
    }
}

ek_kernel_fn ek_lut_planes__avx2;

void ek_lut_planes__avx512vnni(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_lut_planes *op = op_;
    if (op->table_size && __builtin_cpu_supports("avx512vbmi"))
        look_up_planes(op, arena, begin, end);
    else
        ek_lut_planes__avx2(op, arena, begin, end);
}

#endif
