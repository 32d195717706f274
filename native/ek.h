/* The C interface of edgekit's kernels. This header is their manual.

   Who calls: `_native.pyx`, which checks every shape and index first. A caller's mistake is therefore a bug:
   kernels trust what they are given and return nothing. They keep no state, allocate nothing and may run in
   any number of threads at once.

   Names: ek_<operator>_<type>__<isa>. The part before the double underscore says what is computed, the part
   behind it how. The scalar one is the definition; every other level gives the same bytes. */

#ifndef EK_H
#define EK_H

#include <stdint.h>

/* ISA levels, worst first. A level is usable if its bit (1 << level) is in ek_cpu_levels(). */
typedef enum ek_level {
    EK_SCALAR,
    EK_AVX2,
    EK_AVXVNNI,
    EK_AVX512VNNI,
    EK_NEON,    /* ARMv8.0: every 64-bit ARM */
    EK_NEONDOT, /* ARMv8.2 with SDOT */
    EK_LEVELS
} ek_level;

/* The weights of a layer are packed in tiles of EK_TILE outputs by EK_QUAD inputs. Weights, vectors of
   constants and tensors in the arena start at multiples of EK_ALIGNMENT bytes. A layer has at most
   EK_MAX_DEPTH inputs, which keeps its sums within 32 bits. */
enum { EK_TILE = 16, EK_QUAD = 4, EK_ALIGNMENT = 64, EK_MAX_DEPTH = 32768 };

/* A fully connected layer on int8, quantised as in TFLite:

       sum = bias[c] + sum over d of (in[r][d] - input zero point) * w[c][d], exact in 32 bits
       out[r][c] = clamp(round(sum * scale[c]) + zero_point)

   The product is one of float64, rounded once; round() takes ties away from zero. These are the bytes that
   LiteRT's reference kernel gives (its older releases, and tflite-runtime, rounded twice in integers: there
   a byte may differ by one). tiles = ceil(cols / 16), quads = ceil(depth / 4). */
typedef struct ek_fc_s8 {
    int64_t rows;  /* >= 0: how many input vectors */
    int64_t depth; /* 1..EK_MAX_DEPTH: inputs of each */
    int64_t cols;  /* >= 1: outputs of each */

    /* (tiles, quads, 16, 4) int8, aligned; what lies beyond depth or cols is zero. */
    const int8_t *weights;

    /* Each (tiles * 16), aligned, zero beyond cols. `bias` has -(input zero point) * sum(w[c]) folded in, for
       kernels that multiply the stored int8; `bias_u8` -(input zero point + 128) * sum(w[c]), for those that
       multiply the stored value + 128. `scale` is input scale * weight scale / output scale, >= 0 and so
       small that sum * scale stays within 31 bits. */
    const int32_t *bias, *bias_u8;
    const double *scale;

    int32_t zero_point;  /* of the output, -128..127 */
    int32_t low, high;   /* the activation's clamp, low <= high, within -128..127 */
    int32_t reaches_min; /* whether a weight is -128; some levels then take a slower way that is exact too */
} ek_fc_s8;

/* `in` is (rows, depth), `out` is (rows, cols), both dense, of any alignment, and do not overlap. Exactly
   these bytes are read and written. Neither is NULL. */
typedef void ek_fc_s8_fn(const ek_fc_s8 *fc, const int8_t *in, int8_t *out);

ek_fc_s8_fn ek_fc_s8__scalar, ek_fc_s8__avx2, ek_fc_s8__avxvnni, ek_fc_s8__avx512vnni;
ek_fc_s8_fn ek_fc_s8__neon, ek_fc_s8__neondot;

/* out[i] = clamp(round(in[i] / scale) + zero_point), ties away from zero; a value beyond the int32 range is
   clamped too. `in` is (count,) float32 without NaN, `out` is (count,) int8. scale > 0. */
void ek_quantize_f32_s8__scalar(int64_t count, float scale, int32_t zero_point, const float *in, int8_t *out);

/* out[i] = scale * (in[i] - zero_point). */
void ek_dequantize_s8_f32__scalar(int64_t count, float scale, int32_t zero_point, const int8_t *in, float *out);

/* The kernels that a network runs with: one entry a family. */
typedef struct ek_kernels {
    ek_fc_s8_fn *fc_s8;
} ek_kernels;

/* One list of all kernels of this architecture: dispatch, tests and benchmarks iterate over it. */
typedef struct ek_kernel {
    const char *family; /* "fc_s8" */
    ek_level level;
    ek_fc_s8_fn *fc_s8;
} ek_kernel;

extern const ek_kernel ek_kernel_list[];
extern const int ek_kernel_count;

/* "scalar", "avx2", ...; level is 0..EK_LEVELS-1. */
const char *ek_level_name(ek_level level);

/* Bit set of the levels that this architecture has at all, and of those that this CPU can run. */
uint32_t ek_known_levels(void);
uint32_t ek_cpu_levels(void);

/* Fill the table with the best kernels among `levels`, a subset of ek_cpu_levels() that has EK_SCALAR. */
void ek_fill_kernels(ek_kernels *table, uint32_t levels);

/* A network as a list of steps over one arena. */
enum ek_step_kind { EK_FC_S8, EK_QUANTIZE_F32_S8, EK_DEQUANTIZE_S8_F32 };

typedef struct ek_step {
    enum ek_step_kind kind;
    int64_t input, output; /* byte offsets into the arena, aligned; the two tensors do not overlap */
    ek_fc_s8 fc;           /* EK_FC_S8 only */
    int64_t count;         /* the other kinds: elements, scale and zero point of the int8 side */
    float scale;
    int32_t zero_point;
} ek_step;

/* Run the steps in order. `arena` is aligned and as large as the largest offset plus its tensor. */
void ek_run(const ek_kernels *kernels, const ek_step *steps, int64_t count, uint8_t *arena);

#endif
