/* The operations. Each is a list of fields, from which its struct and the table for Python are made:
   NUMBER(type, name) and ARRAY(type, name), an array being `const type *name` and `int64_t name_size`, its number
   of elements. Places in the arena are byte offsets. */

#ifndef EK_OPS_H
#define EK_OPS_H

#include "ek.h"

/* The picture of a tensor in planes: see PLANES in ek.h. `base` is the place of pixel 0 in plane 0. */
#define EK_PLANES(NUMBER, name)                                                            \
    NUMBER(int64_t, name)         /* place of pixel 0 of the first plane */                \
    NUMBER(int64_t, name##_stride) /* bytes from plane to plane */                         \
    NUMBER(int32_t, name##_pitch) /* pixels from row to row */

/* Who writes a picture keeps its margins at `zero_point`. */
#define EK_PICTURE(NUMBER)                                                                 \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, height)                                                                \
    NUMBER(int32_t, width)                                                                 \
    NUMBER(int32_t, period) /* rows from image to image, >= height */                      \
    NUMBER(int32_t, before) /* pixels of margin before pixel 0 */                          \
    NUMBER(int32_t, after)  /* pixels of margin after the last row of the last image */

/* From a sum to a stored byte. With `exact`: TFLite's two roundings,
       y = rounding_shift(doubling_high(sum << max(shift, 0), multiplier), -min(shift, 0)) + zero_point;
   otherwise one, y = to_nearest_even(fma(float(sum), scale, zero_point)). Then clamp(y, low, high). */
#define EK_REQUANTISE(NUMBER, ARRAY)                                                       \
    NUMBER(int32_t, exact)                                                                 \
    NUMBER(int32_t, fits16)     /* promised: |sum * scale| < 2^15 - 256, whatever the input */ \
    NUMBER(int32_t, zero_point) /* stored, like low and high */                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)                                                                  \
    ARRAY(int32_t, bias)       /* a channel */                                             \
    ARRAY(float, scale)        /* a channel; |sum * scale| < 2^30 */                       \
    ARRAY(int32_t, multiplier) /* a channel, with `exact`; else empty */                   \
    ARRAY(int32_t, shift)      /* a channel, with `exact`; else empty */

/* A convolution on planes, of any window: per group of `group` output channels a list of entries, each the byte
   offset of an input quad (plane and shift of the tap), followed by a word of 4 int8 weights for each channel of the
   group:

       sum[c][p] = bias[c] + sum over entries e of dot4(byte[input + offset[e] + 4 p], word[e][c % group])

   for all pixels p of the output from 0 to (images * period - (period - height)) * pitch, margins included; input
   and output have the same pitch and period. What is zero is not listed. On AVX2 no pair of weights in a word may
   reach beyond 16 bits: 255 * (positive part) <= 32767 and 255 * (negative part) <= 32768; such a word is listed
   in two entries. `runs` says more of that kind: the entries of group g from starts[g] to runs[g][0] come in fours and
   those from there to runs[g][1] in twos whose pairs added up do not reach beyond 16 bits either. On ARMv8.0 no weight
   is -128, and the magnitudes of the four weights that have the same place in a run of four add up to 255 at most.

   With `planar` input each plane holds one channel, a byte a pixel, and an entry is 4 byte offsets and a word, whose
   weights belong to the bytes found there; `group` is 1. That is for weights whose zeros come alone:

       sum[c][p] = bias[c] + sum over entries e of sum over k of byte[input + offset[e][k] + p] * weight[e][k]

   `biased` sums save the conversion to float: 0x4B400000 = EK_BIASED is added to each bias[c], so that the bits of a
   sum are those of the float 12582912 + sum, as long as -2^22 <= sum < 2^22. Then

       y = to_nearest_even(fma(float of the bits of sum, scale, biased_zero_point[c]))

   where biased_zero_point = zero_point - 12582912 * scale. It is as exact as the usual way if `scale` is rounded so
   that this is a float. Not together with `exact`.

   With `residual`, y is added to another tensor of the same pitch, which becomes the output:
       z = (y * residual_own + r * residual_other + residual_bias) >> residual_shift, clamped to residual_low..high
   and the margins hold `residual_zero_point`.

   A unit is a tile of pixels by a block of output channels: units = tiles * blocks, the tile counts faster. The
   pixels make V vectors, which are shared out evenly among T = ceil(V / tile) tiles: tile i has the vectors
   i * V / T to (i + 1) * V / T. A level is fast if `vector` is its own, and `group` if that is 32, which only
   AVX512-VNNI has; and else as slow as the scalar one. */
#define EK_CONV(NUMBER, ARRAY)                                                             \
    EK_PLANES(NUMBER, input)                                                               \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, channels) /* of the output, a multiple of 4 and of `group` */          \
    NUMBER(int32_t, group)    /* 1, 4, 8 or 32 */                                          \
    NUMBER(int32_t, planar)                                                                \
    NUMBER(int32_t, vector)   /* pixels in a vector: 16, 8 or 4, as the level has them; 4 times that if planar */ \
    NUMBER(int32_t, tile)     /* vectors in a tile, at most */                             \
    NUMBER(int32_t, block)    /* output channels in a block, a multiple of 8 and of `group` */ \
    ARRAY(int32_t, starts)    /* groups + 1: first entry of each group */                  \
    ARRAY(int32_t, entries)   /* (entries, 1 + group): offset, words; or (entries, 5): offsets, word */ \
    ARRAY(int32_t, runs)      /* (groups, 2), or empty */                                  \
    EK_REQUANTISE(NUMBER, ARRAY)                                                           \
    NUMBER(int32_t, biased)                                                                \
    ARRAY(float, biased_zero_point) /* a channel, with `biased`; else empty */             \
    NUMBER(int32_t, has_residual)                                                          \
    NUMBER(int64_t, residual)                                                              \
    NUMBER(int64_t, residual_stride)                                                       \
    NUMBER(int32_t, residual_own)                                                          \
    NUMBER(int32_t, residual_other)                                                        \
    NUMBER(int32_t, residual_bias)                                                         \
    NUMBER(int32_t, residual_shift)                                                        \
    NUMBER(int32_t, residual_low)                                                          \
    NUMBER(int32_t, residual_high)                                                         \
    NUMBER(int32_t, residual_zero_point)

/* Planes of quads to planes of one channel, for `planar` input of EK_CONV: byte p of plane c of the output is byte
   4 p + c % 4 of plane c / 4 of the input, 0 <= p < pixels, margins being pixels like others. A unit is a plane of the
   input. Behind the output lie EK_SLACK bytes that may be overwritten. */
#define EK_SPREAD_PLANES(NUMBER, ARRAY)                                                    \
    NUMBER(int64_t, input)                                                                 \
    NUMBER(int64_t, input_stride)                                                          \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, output_stride)                                                         \
    NUMBER(int32_t, planes) /* of the input */                                             \
    NUMBER(int64_t, pixels)

/* A depthwise convolution on planes, one output a channel, dilation 1, stride 1 or 2. `input` is the place of the
   byte that the window's first tap meets at output pixel 0, so it may lie in the margin; output row r of image i
   starts at input row i * input_period + r * stride. Weights are (planes, sets, window_height, window_width, 4
   channels) int8; the sets are summed, so that a weight beyond int8 can be two. On AVX2 taps t and t + 2 of a row of a
   set may not together reach beyond 16 bits, as in EK_CONV, unless t % 4 is 2. Sums may be `biased` as in EK_CONV. A
   unit is a plane. */
#define EK_DEPTHWISE(NUMBER, ARRAY)                                                        \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, input_period)                                                          \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, window_height)                                                         \
    NUMBER(int32_t, window_width)                                                          \
    NUMBER(int32_t, stride)                                                                \
    NUMBER(int32_t, sets)                                                                  \
    ARRAY(int8_t, weights)                                                                 \
    EK_REQUANTISE(NUMBER, ARRAY)                                                           \
    NUMBER(int32_t, biased)                                                                \
    ARRAY(float, biased_zero_point) /* a channel, with `biased`; else empty */

/* FULLY_CONNECTED on plain int8: (rows, depth) to (rows, cols).

       sum = bias[c] + sum over d of in[r][d] * w[c][d], exact in 32 bits
       out[r][c] = clamp(round(sum * scale[c]) + zero_point)

   The product is one of float64, rounded once; round() takes ties away from zero. These are the bytes that
   LiteRT's reference kernel gives (its older releases, and tflite-runtime, rounded twice in integers: there
   a byte may differ by one). `bias` has -(input zero point) * sum(w[c]) folded in, for kernels that multiply the
   int8; `bias_u8` -(input zero point + 128) * sum(w[c]), for those that multiply the value + 128. A unit is a tile
   of 16 outputs, of all rows.

   With `offsets` most quads of weights are zero and only the others are there. The outputs of a tile are walked side
   by side: step s of tile t, starts[t] <= s < starts[t + 1], has for each of its 16 outputs the byte offset of an
   input quad, and a word of weights; outputs that have fewer quads than others get words of zeros. `depth` then is a
   multiple of 4. */
#define EK_FC(NUMBER, ARRAY)                                                               \
    NUMBER(int64_t, input)                                                                 \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth) /* 1..EK_MAX_DEPTH */                                           \
    NUMBER(int64_t, cols)  /* >= 1 */                                                      \
    ARRAY(int8_t, weights) /* (tiles, quads, 16, 4), zero beyond depth or cols */          \
    ARRAY(int32_t, starts) /* tiles + 1, with `offsets`; weights are (steps, 16, 4) then */ \
    ARRAY(int32_t, offsets) /* (steps, 16), or empty */                                    \
    ARRAY(int32_t, bias)   /* (tiles * 16), like the next two */                           \
    ARRAY(int32_t, bias_u8)                                                                \
    ARRAY(double, scale)                                                                   \
    NUMBER(int32_t, zero_point) /* of the output, -128..127 */                             \
    NUMBER(int32_t, low)        /* the activation's clamp, low <= high */                  \
    NUMBER(int32_t, high)                                                                  \
    NUMBER(int32_t, reaches_min) /* whether a weight is -128; some levels then take a slower way, exact too */

/* Between plain int8 (images, rows, columns, channels) and planes. Stored = (plain byte ^ flip) taken as ek_byte;
   flip is 0x80 or 0 and decides about uint8, too. With steps > 1 the picture is taken apart: output pixel (y, x) of
   phase (a, b) is input pixel (y * step_y + a - top, x * step_x + b - left), or the zero point outside; the planes
   of phase (a, b) start at (a * step_x + b) * quads. A unit is an output row (of all planes and phases). */
#define EK_PACK_PLANES(NUMBER, ARRAY)                                                      \
    NUMBER(int64_t, input)                                                                 \
    NUMBER(int32_t, rows)                                                                  \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, channels)                                                              \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, step_y)                                                                \
    NUMBER(int32_t, step_x)                                                                \
    NUMBER(int32_t, top)                                                                   \
    NUMBER(int32_t, left)                                                                  \
    NUMBER(int32_t, flip)                                                                  \
    NUMBER(int32_t, zero_point)

/* Planes to plain. Channels beyond `channels` in the last quad are left out. Pixels of the plain side are
   `row_bytes` apart (>= channels): it may be a slice of a wider tensor. A unit is a row of an image. */
#define EK_UNPACK_PLANES(NUMBER, ARRAY)                                                    \
    EK_PLANES(NUMBER, input)                                                               \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, channels)                                                              \
    NUMBER(int64_t, row_bytes)                                                             \
    NUMBER(int32_t, flip)

/* Takes a picture in planes apart into step_y * step_x phases in planes, as EK_PACK_PLANES does with a plain one. Only
   the phases whose bit is set in `phases` are made, one after another. A unit is an input plane. */
#define EK_SPLIT_PHASES(NUMBER, ARRAY)                                                     \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, input_period)                                                          \
    NUMBER(int32_t, rows)    /* of an input image */                                       \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, planes)                                                                \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, step_y)                                                                \
    NUMBER(int32_t, step_x)                                                                \
    NUMBER(int32_t, top)                                                                   \
    NUMBER(int32_t, left)                                                                  \
    NUMBER(uint32_t, phases)                                                               \
    NUMBER(int32_t, zero_point)

/* The sum of two pictures of the same pitch and period. Without `exact`

       z = (a * first_weight + b * second_weight + bias) >> shift

   on stored bytes, with |weights| < 2^15; a negative weight subtracts. With `exact` as TFLite has it:

       z = multiply(multiply((a - first_zero) << 20, first_weight, first_shift)
                    +- multiply((b - second_zero) << 20, second_weight, second_shift), multiplier, shift) + zero_point

   with EK_REQUANTISE's two roundings, minus if `subtract`. Then clamp(z, low, high). Where both inputs hold their zero
   points z is the output's, so the margins between rows come out right by themselves. A unit is a plane. */
#define EK_ADD_PLANES(NUMBER, ARRAY)                                                       \
    NUMBER(int64_t, first)                                                                 \
    NUMBER(int64_t, first_stride)                                                          \
    NUMBER(int64_t, second)                                                                \
    NUMBER(int64_t, second_stride)                                                         \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, exact)                                                                 \
    NUMBER(int32_t, first_weight)                                                          \
    NUMBER(int32_t, second_weight)                                                         \
    NUMBER(int32_t, bias)                                                                  \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(int32_t, first_zero) /* stored; the rest only with `exact` */                   \
    NUMBER(int32_t, second_zero)                                                           \
    NUMBER(int32_t, first_shift) /* -31..0, like the other shifts with `exact` */          \
    NUMBER(int32_t, second_shift)                                                          \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, subtract)                                                              \
    NUMBER(int32_t, zero_point) /* always, like low and high; stored */                    \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)

/* The product p = (a - first_zero) * (b - second_zero) of two pictures of the same pitch and period, requantised as
   EK_REQUANTISE does with a sum. With `second_step`, the second tensor has one pixel an image instead, which all
   pixels of the first are multiplied by; image i's is pixel i * second_step. A unit is a plane. */
#define EK_MUL_PLANES(NUMBER, ARRAY)                                                       \
    NUMBER(int64_t, first)                                                                 \
    NUMBER(int64_t, first_stride)                                                          \
    NUMBER(int64_t, second)                                                                \
    NUMBER(int64_t, second_stride)                                                         \
    NUMBER(int32_t, second_step)                                                           \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, first_zero) /* stored */                                               \
    NUMBER(int32_t, second_zero)                                                           \
    NUMBER(int32_t, exact)                                                                 \
    NUMBER(float, scale)        /* without `exact`; |p * scale| < 2^30 */                  \
    NUMBER(int32_t, multiplier) /* with `exact` */                                         \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)

/* out = table[stored byte taken as unsigned] on planes of the same pitch and period; margins become `zero_point`.
   `table` has 256 entries, or none: then bytes are copied. A unit is a plane. */
#define EK_LUT_PLANES(NUMBER, ARRAY)                                                       \
    EK_PLANES(NUMBER, input)                                                               \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, zero_point)                                                            \
    ARRAY(uint8_t, table)

/* Maximum or average over windows of a picture in planes, as TFLite's: only pixels inside the input count. The window
   of output pixel (y, x) starts at input pixel (y * stride_y - top, x * stride_x - left). The average is of int8
   values, rounded to nearest with ties away from zero, then clamped. A unit is a plane. */
#define EK_POOL_PLANES(NUMBER, ARRAY)                                                      \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, input_period)                                                          \
    NUMBER(int32_t, rows)                                                                  \
    NUMBER(int32_t, columns)                                                               \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, average)                                                               \
    NUMBER(int32_t, window_height)                                                         \
    NUMBER(int32_t, window_width)                                                          \
    NUMBER(int32_t, stride_y)                                                              \
    NUMBER(int32_t, stride_x)                                                              \
    NUMBER(int32_t, top)                                                                   \
    NUMBER(int32_t, left)                                                                  \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)

/* TFLite's MEAN over both spatial axes, from planes to plain int8 (images, channels):

       y = multiply(sum of the stored bytes of an image's picture + bias, multiplier, shift) + zero_point

   with EK_REQUANTISE's two roundings, then clamped to int8. A unit is a plane. */
#define EK_MEAN_PLANES(NUMBER, ARRAY)                                                      \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, height)                                                                \
    NUMBER(int32_t, width)                                                                 \
    NUMBER(int32_t, period)                                                                \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, channels)                                                              \
    NUMBER(int32_t, bias) /* takes out the zero point of the stored bytes */               \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(int32_t, zero_point) /* plain */

/* Output pixel (y, x) is input pixel (source_rows[y], source_columns[x]), in planes. A unit is a plane. */
#define EK_RESIZE_PLANES(NUMBER, ARRAY)                                                    \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, input_period)                                                          \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, zero_point)                                                            \
    ARRAY(int32_t, source_rows)                                                            \
    ARRAY(int32_t, source_columns)

/* PLAIN TENSORS: dense, as TFLite keeps them. The numbers of an operand may be a constant: with `name_data` its array,
   in which `name` then is the offset, otherwise `name` is a place in the arena. */
#define EK_SOURCE(NUMBER, ARRAY, name) \
    NUMBER(int64_t, name)              \
    ARRAY(uint8_t, name##_data)

/* A strided copy: for all indices of up to EK_MAX_RANK axes, `run` bytes from input + sum(index * input_stride) to
   output + sum(index * output_stride). Input strides may be negative, or 0 to repeat. A unit is an index of the
   first axis. */
#define EK_COPY(NUMBER, ARRAY)                                                             \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, run)                                                                   \
    ARRAY(int64_t, sizes)          /* an axis; at least 1 */                               \
    ARRAY(int64_t, input_strides)  /* bytes, an axis */                                    \
    ARRAY(int64_t, output_strides) /* bytes, an axis */

/* out = table[in], in bytes taken as unsigned, out numbers of `item` bytes; in `rows` rows of `columns` numbers, which
   start `input_stride` and `output_stride` bytes apart. With item 1 and equal strides, the output may be the input. A
   unit is EK_RUN numbers of a row. */
#define EK_LUT(NUMBER, ARRAY)                                                              \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, columns)                                                               \
    NUMBER(int64_t, input_stride)                                                          \
    NUMBER(int64_t, output_stride)                                                         \
    NUMBER(int64_t, item)   /* 1..8 */                                                     \
    ARRAY(uint8_t, table)   /* 256 numbers */

/* Blocks of `run` bytes picked by number: out[o][i] = in[o][index[i]], for each of `outer` slices of `count` blocks. A
   unit is EK_PICKS blocks of a slice of the output. */
#define EK_GATHER(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, outer)                                                                 \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int64_t, run)                                                                   \
    ARRAY(int32_t, index)   /* 0..count - 1 */

/* Two operands that are broadcast: strides in bytes, 0 along an axis where an operand repeats. The output is dense. A
   unit is EK_RUN numbers of it. */
#define EK_OPERANDS(NUMBER, ARRAY)                                                         \
    EK_SOURCE(NUMBER, ARRAY, first)                                                        \
    EK_SOURCE(NUMBER, ARRAY, second)                                                       \
    NUMBER(int64_t, output)                                                                \
    ARRAY(int64_t, sizes)                                                                  \
    ARRAY(int64_t, first_strides)                                                          \
    ARRAY(int64_t, second_strides)

/* Quantised bytes, added or multiplied as TFLite does it:
       out = clamp(multiply(first_values[a] + second_values[b], multiplier, shift) + zero_point)
   with `product`, first_values[a] * second_values[b]; a and b are bytes taken as unsigned; see ek_multiply in
   requantise.h. */
#define EK_ARITHMETIC(NUMBER, ARRAY)                                                       \
    EK_OPERANDS(NUMBER, ARRAY)                                                             \
    NUMBER(int32_t, product)                                                               \
    ARRAY(int32_t, first_values)  /* 256; sums and products stay within 31 bits */         \
    ARRAY(int32_t, second_values) /* 256 */                                                \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift) /* -31..30 */                                                   \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high) /* both of the output's type, int8 or uint8 */

/* Any function of two bytes, as a table: out = table[256 a + b]. */
#define EK_PAIR(NUMBER, ARRAY)                                                             \
    EK_OPERANDS(NUMBER, ARRAY)                                                             \
    ARRAY(uint8_t, table)

/* The types of numbers. */
#define EK_TYPES(T)                                                                        \
    T(FLOAT32, float)                                                                      \
    T(INT8, int8_t)                                                                        \
    T(UINT8, uint8_t)                                                                      \
    T(INT16, int16_t)                                                                      \
    T(INT32, int32_t)                                                                      \
    T(INT64, int64_t)
#define EK_TYPE_NAME(name, type) EK_##name,
enum { EK_TYPES(EK_TYPE_NAME) EK_TYPE_COUNT };

/* Functions of two numbers. The last ones give a byte, 0 or 1. */
enum {
    EK_ADD,
    EK_SUB,
    EK_MUL,
    EK_MAXIMUM,
    EK_MINIMUM,
    EK_SQUARED_DIFFERENCE,
    EK_DIV,       /* of whole numbers towards 0 */
    EK_PRELU,     /* a < 0 ? a * b : a; of floats only, like the next two */
    EK_POW,
    EK_ATAN2,
    EK_FLOOR_DIV,
    EK_FLOOR_MOD, /* what FLOOR_DIV leaves */
    EK_BITWISE_XOR, /* of whole numbers only, like the next */
    EK_RIGHT_SHIFT, /* by 0 to all bits but one; what is beyond counts as the nearest of these */
    EK_EQUAL,
    EK_NOT_EQUAL,
    EK_LESS,
    EK_LESS_EQUAL,
    EK_GREATER,
    EK_GREATER_EQUAL,
    EK_FUNCTIONS
};

/* A function of two numbers of one type. Whole numbers wrap around, and over 0 they give 0. Results of ADD to DIV on
   floats are then clamped to low..high. */
#define EK_BINARY(NUMBER, ARRAY)                                                           \
    EK_OPERANDS(NUMBER, ARRAY)                                                             \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, function)                                                              \
    NUMBER(float, low)                                                                     \
    NUMBER(float, high)

/* Numbers of one type to another, `count` of them. A unit is EK_RUN of them. */
#define EK_CONVERSION(NUMBER, ARRAY)                                                       \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int32_t, type) /* of the whole numbers */

/* From float32: out = clamp(round(in / scale) + zero_point) to the type's range; ties away from zero. */
#define EK_QUANTIZE(NUMBER, ARRAY)                                                         \
    EK_CONVERSION(NUMBER, ARRAY)                                                           \
    NUMBER(float, scale)                                                                   \
    NUMBER(int32_t, zero_point)

/* To float32: out = scale * (in - zero_point); not from int64. */
#define EK_DEQUANTIZE(NUMBER, ARRAY)                                                       \
    EK_CONVERSION(NUMBER, ARRAY)                                                           \
    NUMBER(float, scale)                                                                   \
    NUMBER(int32_t, zero_point)

/* From whole numbers of `type` to those of `output_type`, of 8 to 32 bits both:
   out = clamp(multiply(in - zero_point, multiplier, shift) + output_zero_point) to the type's range. */
#define EK_REQUANTIZE(NUMBER, ARRAY)                                                       \
    EK_CONVERSION(NUMBER, ARRAY)                                                           \
    NUMBER(int32_t, output_type)                                                           \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, output_zero_point)

/* From `type` to `output_type` as C converts; a float beyond the other's range gives its end, and NaN 0. */
#define EK_CAST(NUMBER, ARRAY)                                                             \
    EK_CONVERSION(NUMBER, ARRAY)                                                           \
    NUMBER(int32_t, output_type)

enum {
    EK_SUM,
    EK_MEAN, /* of whole numbers towards zero */
    EK_MAX,
    EK_MIN,
    EK_PROD /* not of bytes; whole numbers wrap around */
};

/* Numbers taken together along some axes: sizes of and byte strides along those that are kept, the last of which varies
   fastest in the dense output, and those that are reduced, in the order in which floats are summed. With `quantised`,
   of bytes: out = clamp(multiply(sum - zero_point, multiplier, shift) + output_zero_point) to the type's range,
   where zero_point is that of all numbers together. Not for int16. A unit is EK_PICKS numbers along the last axis
   that is kept. */
#define EK_REDUCE(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, function)                                                              \
    ARRAY(int64_t, sizes)                                                                  \
    ARRAY(int64_t, strides)                                                                \
    ARRAY(int64_t, reduced_sizes)                                                          \
    ARRAY(int64_t, reduced_strides)                                                        \
    NUMBER(int32_t, quantised)                                                             \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(int32_t, output_zero_point)

/* Maximum or average over windows of plain images; only pixels inside count. The window of output pixel (y, x) starts at
   input pixel (y * stride_y - top, x * stride_x - left). Averages of int8 round to nearest, ties away from zero;
   those of uint8, ties up. Of float32, int8 or uint8. A unit is an output row of an image. */
#define EK_POOL(NUMBER, ARRAY)                                                             \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, average)                                                               \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, rows) /* of the input */                                               \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, channels)                                                              \
    NUMBER(int32_t, height) /* of the output */                                            \
    NUMBER(int32_t, width)                                                                 \
    NUMBER(int32_t, window_height)                                                         \
    NUMBER(int32_t, window_width)                                                          \
    NUMBER(int32_t, stride_y)                                                              \
    NUMBER(int32_t, stride_x)                                                              \
    NUMBER(int32_t, top)                                                                   \
    NUMBER(int32_t, left)                                                                  \
    NUMBER(float, low)                                                                     \
    NUMBER(float, high)

/* Softmax over rows of int8 or uint8, in TFLite's fixed point. exponentials[d] is exp of what a number lies d below
   its row's largest, of 31 bits, or 0 where that does not count. A unit is a row. */
#define EK_SOFTMAX(NUMBER, ARRAY)                                                          \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
    NUMBER(int32_t, type)                                                                  \
    ARRAY(int32_t, exponentials) /* 256; the first is 2^31 - 1 */

/* The logarithm of softmax over rows of int8 or uint8, in float32:
       out = clamp(to_nearest_even(scale * in - rest) + the type's largest number)
   where scale = input_scale / output_scale, rest = (input_scale * the row's largest + log(sum)) / output_scale, and the
   sum is that of exponentials[d] of what each number lies d below its row's largest. A unit is a row. */
#define EK_LOG_SOFTMAX(NUMBER, ARRAY)                                                      \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(float, input_scale)                                                             \
    NUMBER(float, output_scale)                                                            \
    ARRAY(float, exponentials) /* 256 */

/* Softmax over rows of float32, of numbers times `beta`, or the logarithm of it. A unit is a row. */
#define EK_SOFTMAX_FLOAT(NUMBER, ARRAY)                                                    \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
    NUMBER(float, beta)                                                                    \
    NUMBER(int32_t, logarithm)

/* Bilinear sampling of plain images. Output row y lies between input rows row_first[y] and row_second[y], at row_weight[y]
   from the first; columns likewise. Weights are floats, for int8 whole numbers of 1024ths. Results are rounded to
   nearest, ties away from zero, but on float32. A unit is an output row. */
#define EK_BILINEAR(NUMBER, ARRAY)                                                         \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, rows)                                                                  \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, channels)                                                              \
    ARRAY(int32_t, row_first)                                                              \
    ARRAY(int32_t, row_second)                                                             \
    ARRAY(float, row_weight)                                                               \
    ARRAY(int32_t, column_first)                                                           \
    ARRAY(int32_t, column_second)                                                          \
    ARRAY(float, column_weight)

/* TFLite_Detection_PostProcess on float32: `boxes` are rows of at least 4 coordinates (y, x, height and width relative to
   their anchor), `scores` rows of `columns`, the last `classes` of which are classes. Anchors are y, x, height, width.
   The best max_detections are put out in falling order, zeros behind them: boxes as top, left, bottom, right. Not
   `regular`: each box once, with its max_classes best classes; `regular`: at most per_class of each class. `scratch`
   is 32 * max_detections + 28 * boxes_count bytes. One unit. */
#define EK_POSTPROCESS(NUMBER, ARRAY)                                                      \
    EK_SOURCE(NUMBER, ARRAY, boxes)                                                        \
    EK_SOURCE(NUMBER, ARRAY, scores)                                                       \
    ARRAY(float, anchors) /* (boxes_count, 4) */                                           \
    NUMBER(int64_t, output_boxes)                                                          \
    NUMBER(int64_t, output_classes)                                                        \
    NUMBER(int64_t, output_scores)                                                         \
    NUMBER(int64_t, output_count)                                                          \
    NUMBER(int64_t, scratch)                                                               \
    NUMBER(int32_t, boxes_count)                                                           \
    NUMBER(int32_t, coordinates)                                                           \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, classes)                                                               \
    NUMBER(int32_t, regular)                                                               \
    NUMBER(int64_t, max_detections)                                                        \
    NUMBER(int64_t, max_classes)                                                           \
    NUMBER(int64_t, per_class)                                                             \
    NUMBER(float, score_threshold)                                                         \
    NUMBER(float, overlap_threshold)                                                       \
    NUMBER(float, y_scale)                                                                 \
    NUMBER(float, x_scale)                                                                 \
    NUMBER(float, h_scale)                                                                 \
    NUMBER(float, w_scale)

/* Products of matrices of int8, for each of some batches:
       sum[m][n] = bias[n] + sum over k of (first[m][k] - first_zero) * (second[k][n] - second_zero)
       out[m][n] = clamp(multiply(sum, multiplier, shift) + zero_point, low, high)
   With `scale` it is round(sum * scale) instead, as EK_FC has it. Or of float32, where out is the sum. Strides are in
   bytes; a batch's are 0 where an operand is used again. The output is dense. A unit is a row of a product. */
#define EK_MATMUL(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, first)                                                        \
    EK_SOURCE(NUMBER, ARRAY, second)                                                       \
    NUMBER(int64_t, output)                                                                \
    ARRAY(int64_t, batches) /* sizes of the axes of batches; at least one axis */          \
    ARRAY(int64_t, first_batch_strides)                                                    \
    ARRAY(int64_t, second_batch_strides)                                                   \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth) /* 1..EK_MAX_DEPTH */                                           \
    NUMBER(int64_t, columns)                                                               \
    NUMBER(int64_t, first_row_stride)                                                      \
    NUMBER(int64_t, first_depth_stride)                                                    \
    NUMBER(int64_t, second_depth_stride)                                                   \
    NUMBER(int64_t, second_column_stride)                                                  \
    NUMBER(int32_t, type) /* INT8 or FLOAT32; the rest only of int8 */                     \
    ARRAY(int32_t, bias)  /* columns, or empty */                                          \
    NUMBER(int32_t, first_zero)                                                            \
    NUMBER(int32_t, second_zero)                                                           \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift)                                                                 \
    NUMBER(double, scale) /* or 0 */                                                       \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)

/* TRANSPOSE_CONV on plain int8: input pixel (y, x) adds its products to the output pixels from (y * stride_y - top,
   x * stride_x - left) on, a window of them; sums are multiplied by `multiplier` and `shift` of their channel. A unit is
   an output row of an image. */
#define EK_TRANSPOSE_CONV(NUMBER, ARRAY)                                                   \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, rows) /* of the input */                                               \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, depth)                                                                 \
    NUMBER(int32_t, height) /* of the output */                                            \
    NUMBER(int32_t, width)                                                                 \
    NUMBER(int32_t, channels)                                                              \
    NUMBER(int32_t, window_height)                                                         \
    NUMBER(int32_t, window_width)                                                          \
    NUMBER(int32_t, stride_y)                                                              \
    NUMBER(int32_t, stride_x)                                                              \
    NUMBER(int32_t, top)                                                                   \
    NUMBER(int32_t, left)                                                                  \
    NUMBER(int32_t, input_zero_point)                                                      \
    ARRAY(int16_t, weights) /* (window_height, window_width, depth, channels) */           \
    ARRAY(int32_t, bias)                                                                   \
    ARRAY(int32_t, multiplier)                                                             \
    ARRAY(int32_t, shift)                                                                  \
    NUMBER(int32_t, zero_point)                                                            \
    NUMBER(int32_t, low)                                                                   \
    NUMBER(int32_t, high)

/* The number along an axis that is the largest or the least, the first of equal ones, as `output_type`, INT32 or INT64:
   for each of `outer` slices of `count` rows of `inner` numbers. A unit is a slice. */
#define EK_ARG(NUMBER, ARRAY)                                                              \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, output_type)                                                           \
    NUMBER(int32_t, least)                                                                 \
    NUMBER(int64_t, outer)                                                                 \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int64_t, inner)

/* Items of one of two operands: out = condition ? first : second, all three broadcast. A unit is an index of the first
   axis. */
#define EK_SELECT(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, condition) /* bytes, 0 or not */                              \
    EK_SOURCE(NUMBER, ARRAY, first)                                                        \
    EK_SOURCE(NUMBER, ARRAY, second)                                                       \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, item) /* bytes: 1, 2, 4 or 8 */                                        \
    ARRAY(int64_t, sizes)                                                                  \
    ARRAY(int64_t, condition_strides) /* bytes, an axis, like the next two */              \
    ARRAY(int64_t, first_strides)                                                          \
    ARRAY(int64_t, second_strides)

/* Blocks of `run` bytes picked by numbers that are computed: an index is one number for each of `limits`, the last of
   which varies fastest among the blocks. Every `share` of `outer` slices have the same `picks` indices. An index that
   reaches outside gives zeros, and sets the int32 at `fault` to `number`. A unit is a slice. */
#define EK_PICK(NUMBER, ARRAY)                                                             \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    EK_SOURCE(NUMBER, ARRAY, index)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, index_type) /* INT32 or INT64 */                                       \
    NUMBER(int64_t, outer)                                                                 \
    NUMBER(int64_t, share)                                                                 \
    NUMBER(int64_t, picks)                                                                 \
    NUMBER(int64_t, run)                                                                   \
    ARRAY(int64_t, limits)                                                                 \
    NUMBER(int64_t, fault)                                                                 \
    NUMBER(int32_t, number)

/* Blocks of `run` numbers added up at places that are computed: the output is 0 but for block i of `picks`, which is added
   where index i says; for indices see EK_PICK. What reaches outside is left out, and sets the int32 at `fault` to
   `number`. Whole numbers wrap around. One unit. */
#define EK_SCATTER(NUMBER, ARRAY)                                                          \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    EK_SOURCE(NUMBER, ARRAY, index)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, index_type) /* INT32 or INT64 */                                       \
    NUMBER(int64_t, picks)                                                                 \
    NUMBER(int64_t, run)                                                                   \
    ARRAY(int64_t, limits)                                                                 \
    NUMBER(int64_t, fault)                                                                 \
    NUMBER(int32_t, number)

/* Sets the int32 at `fault` to `number` if a whole number is `value`, as a divisor may not be. A unit is EK_RUN. */
#define EK_FORBID(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int32_t, value)                                                                 \
    NUMBER(int64_t, fault)                                                                 \
    NUMBER(int32_t, number)

/* The `picks` largest numbers of each row in falling order, the first of equal ones first, and where they stood. A unit
   is a row. */
#define EK_TOPK(NUMBER, ARRAY)                                                             \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, output_index) /* int32 */                                              \
    NUMBER(int32_t, type)                                                                  \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
    NUMBER(int64_t, picks) /* 1..depth */

/* Sums of the numbers along an axis up to each, or, if `exclusive`, before it; from the end if `reverse`. Whole
   numbers wrap around. A unit is one of `outer` slices of `count` rows of `inner` numbers. */
#define EK_CUMSUM(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, type) /* FLOAT32, INT32 or INT64 */                                    \
    NUMBER(int32_t, exclusive)                                                             \
    NUMBER(int32_t, reverse)                                                               \
    NUMBER(int64_t, outer)                                                                 \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int64_t, inner)

/* L2_NORMALIZATION of rows of int8, in TFLite's fixed point; an output of 127 is 127/128. A unit is a row. */
#define EK_L2NORM(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth) /* 1..EK_MAX_DEPTH */                                           \
    NUMBER(int32_t, zero_point)

/* Functions of a float32. Those from EK_EXP on are as good as the math library. */
enum {
    EK_ABS,
    EK_NEG,
    EK_SQUARE,
    EK_SQRT,
    EK_RSQRT,
    EK_FLOOR,
    EK_CEIL,
    EK_ROUND, /* ties to even */
    EK_SIGN,
    EK_CLAMP,      /* to low..high */
    EK_LEAKY_RELU, /* x below 0 times `low` */
    EK_HARD_SWISH,
    EK_FAKE_QUANT, /* clamped to low..high, then to the nearest of the numbers that are a `step` apart from low on */
    EK_EXP,
    EK_LOG,
    EK_LOGISTIC,
    EK_TANH,
    EK_ELU,
    EK_GELU,
    EK_GELU_BY_TANH,
    EK_SIN,
    EK_COS,
    EK_REAL_FUNCTIONS
};

/* A function of `count` float32. A unit is EK_RUN of them. */
#define EK_REAL(NUMBER, ARRAY)                                                             \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int32_t, function)                                                              \
    NUMBER(float, low)                                                                     \
    NUMBER(float, high)                                                                    \
    NUMBER(float, step)

/* All families, in the order of their numbers. */
#define EK_FAMILIES(FAMILY)                                                                \
    FAMILY(fc, EK_FC)                                                                      \
    FAMILY(conv, EK_CONV)                                                                  \
    FAMILY(spread_planes, EK_SPREAD_PLANES)                                                \
    FAMILY(copy, EK_COPY)                                                                  \
    FAMILY(lut, EK_LUT)                                                                    \
    FAMILY(gather, EK_GATHER)                                                              \
    FAMILY(depthwise, EK_DEPTHWISE)                                                        \
    FAMILY(pack_planes, EK_PACK_PLANES)                                                    \
    FAMILY(unpack_planes, EK_UNPACK_PLANES)                                                \
    FAMILY(split_phases, EK_SPLIT_PHASES)                                                  \
    FAMILY(add_planes, EK_ADD_PLANES)                                                      \
    FAMILY(mul_planes, EK_MUL_PLANES)                                                      \
    FAMILY(lut_planes, EK_LUT_PLANES)                                                      \
    FAMILY(pool_planes, EK_POOL_PLANES)                                                    \
    FAMILY(mean_planes, EK_MEAN_PLANES)                                                    \
    FAMILY(resize_planes, EK_RESIZE_PLANES)                                                \
    FAMILY(arithmetic, EK_ARITHMETIC)                                                      \
    FAMILY(pair, EK_PAIR)                                                                  \
    FAMILY(binary, EK_BINARY)                                                              \
    FAMILY(quantize, EK_QUANTIZE)                                                          \
    FAMILY(dequantize, EK_DEQUANTIZE)                                                      \
    FAMILY(requantize, EK_REQUANTIZE)                                                      \
    FAMILY(cast, EK_CAST)                                                                  \
    FAMILY(reduce, EK_REDUCE)                                                              \
    FAMILY(pool, EK_POOL)                                                                  \
    FAMILY(softmax, EK_SOFTMAX)                                                            \
    FAMILY(softmax_float, EK_SOFTMAX_FLOAT)                                                \
    FAMILY(log_softmax, EK_LOG_SOFTMAX)                                                    \
    FAMILY(bilinear, EK_BILINEAR)                                                          \
    FAMILY(postprocess, EK_POSTPROCESS)                                                    \
    FAMILY(matmul, EK_MATMUL)                                                              \
    FAMILY(transpose_conv, EK_TRANSPOSE_CONV)                                              \
    FAMILY(arg, EK_ARG)                                                                    \
    FAMILY(select, EK_SELECT)                                                              \
    FAMILY(pick, EK_PICK)                                                                  \
    FAMILY(scatter, EK_SCATTER)                                                            \
    FAMILY(forbid, EK_FORBID)                                                              \
    FAMILY(topk, EK_TOPK)                                                                  \
    FAMILY(cumsum, EK_CUMSUM)                                                              \
    FAMILY(l2norm, EK_L2NORM)                                                              \
    FAMILY(real, EK_REAL)

#define EK_NUMBER(type, name) type name;
#define EK_ARRAY(type, name)                                                               \
    const type *name;                                                                      \
    int64_t name##_size;
#define EK_STRUCT(family, FIELDS) typedef struct ek_##family { FIELDS(EK_NUMBER, EK_ARRAY) } ek_##family;
EK_FAMILIES(EK_STRUCT)

#define EK_INDEX(family, FIELDS) EK_FAMILY_##family,
enum { EK_FAMILIES(EK_INDEX) EK_FAMILY_COUNT };

/* Every family has a check and a scalar kernel; the other kernels are listed in kernels.c. */
#define EK_DECLARE(family, FIELDS) \
    ek_check_fn ek_##family##_check; \
    ek_kernel_fn ek_##family##__scalar;
EK_FAMILIES(EK_DECLARE)

#endif
