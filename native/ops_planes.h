/* Operations on planes without weights. */

#ifndef EK_OPS_PLANES_H
#define EK_OPS_PLANES_H

#include "ek.h"

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

/* The inverse of EK_SPLIT_PHASES with all phases and no margins of its own: output pixel (y, x) is pixel (y / step_y,
   x / step_x) of phase (y % step_y, x % step_x), whose planes start at (y % step_y * step_x + x % step_x) * planes.
   A unit is an output plane. */
#define EK_JOIN_PHASES(NUMBER, ARRAY)                                                      \
    EK_PLANES(NUMBER, input)                                                               \
    NUMBER(int32_t, input_period)                                                          \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, step_y)                                                                \
    NUMBER(int32_t, step_x)                                                                \
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
   `table` has 256 entries, or none: then bytes are copied. `pieces` may say the same table once more, in a form that
   vectors compute: entry 16 b + p is base[b] + (slope[b] * p + bend[b] * bow[p] >> EK_PIECE_SHIFT), modulo 256, and 1
   more where bit b of extra[p], or b - 8 of extra[16 + p], is set. It holds base, slope, bend, bow and extra, 16 bytes
   each and 32, or nothing. A unit is a plane. */
enum { EK_PIECE_SHIFT = 5, EK_PIECES = 96 };
#define EK_LUT_PLANES(NUMBER, ARRAY)                                                       \
    EK_PLANES(NUMBER, input)                                                               \
    EK_PLANES(NUMBER, output)                                                              \
    EK_PICTURE(NUMBER)                                                                     \
    NUMBER(int32_t, planes)                                                                \
    NUMBER(int32_t, zero_point)                                                            \
    ARRAY(uint8_t, table)                                                                  \
    ARRAY(uint8_t, pieces)

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

#endif
