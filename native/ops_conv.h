/* Operations with weights, and what all on planes have in common. */

#ifndef EK_OPS_CONV_H
#define EK_OPS_CONV_H

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

   `flipped` is for pairs that reach too far: of the entries of group g from flipped[g] to starts[g + 1] the second and
   the fourth byte of the quad are inverted, byte ^ 255, before they are multiplied. Their weights have the other sign,
   and what 255 times them would have been is in the bias. Only with `runs` and groups of 1 and 4.

   Of `gathered` input a tile first puts beside each other what it reads of the planes, which stand far apart: of each of
   the `gathered_planes` planes `gathered` bytes, from `gathered_before` bytes before the tile's first pixel. An offset is a place among these:

       plane of the input = (offset + gathered_before) / gathered, byte in it = (offset + gathered_before) % gathered - gathered_before

   and what a tile of `tile` vectors reads from there stays within those bytes. Only with `runs`, and groups of 1, 4 and 8.

   Of groups of 16 and 32, whose weights fill whole lines of the cache, an entry is its words alone, and `offsets` has its
   byte offset.

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
   AVX512-VNNI has, or 16, which only AVX-VNNI has; and else as slow as the scalar one. */
#define EK_CONV(NUMBER, ARRAY)                                                             \
    EK_PLANES(NUMBER, input)                                                               \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, channels) /* of the output, a multiple of 4 and of `group` */          \
    NUMBER(int32_t, group)    /* 1, 4, 8, 16 or 32 */                                          \
    NUMBER(int32_t, planar)                                                                \
    NUMBER(int32_t, vector)   /* pixels in a vector: 16, 8 or 4, as the level has them; 4 times that if planar */ \
    NUMBER(int32_t, tile)     /* vectors in a tile, at most */                             \
    NUMBER(int32_t, block)    /* output channels in a block, a multiple of 8 and of `group` */ \
    ARRAY(int32_t, starts)    /* groups + 1: first entry of each group */                  \
    ARRAY(int32_t, entries)   /* (entries, 1 + group): offset, words; (entries, 5): offsets, word; (entries, group) */ \
    ARRAY(int32_t, offsets)   /* entries, with groups of 16 and 32; else empty */          \
    ARRAY(int32_t, runs)      /* (groups, 2), or empty */                                  \
    ARRAY(int32_t, flipped)   /* groups, or empty */                                       \
    NUMBER(int32_t, gathered) /* bytes of a plane that a tile gathers, in whole vectors; or 0 */ \
    NUMBER(int32_t, gathered_planes)                                                       \
    NUMBER(int32_t, gathered_before)                                                       \
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
   channels) int8; the sets are summed, so that a weight beyond int8 can be two. On AVX2 no weight is -128 and,
   in windows wider than 3, taps t and t + 2 of a row of a set may not together reach beyond 16 bits, as in EK_CONV,
   unless t % 4 is 2. Sums may be `biased` as in EK_CONV. A
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

#endif
