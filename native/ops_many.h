/* Operations on plain tensors that take many numbers together. */

#ifndef EK_OPS_MANY_H
#define EK_OPS_MANY_H

#include "ek.h"

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

/* The logarithm of softmax over rows of int8, in TFLite's fixed point, to bytes of 1/16 from -255/16 to 0. What lies d
   below its row's largest is exponentials[d], of 31 bits, and scaled[d], with 26 bits behind the point; `least` is the
   smallest -d that counts, if the factor `multiplier`, `shift` from such numbers to -d does not say sooner. A unit is a
   row. */
#define EK_LOG_SOFTMAX_INT8(NUMBER, ARRAY)                                                 \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
    NUMBER(int32_t, least)                                                                 \
    NUMBER(int32_t, multiplier)                                                            \
    NUMBER(int32_t, shift)                                                                 \
    ARRAY(int32_t, exponentials) /* 256; the first is 2^31 - 1 */                          \
    ARRAY(int32_t, scaled)       /* 256; none is positive */

/* The logarithm of softmax over rows of uint8, in float32:
       out = clamp(to_nearest_even(scale * in - rest) + 255)
   where scale = input_scale / output_scale, rest = (input_scale * the row's largest + log(sum)) / output_scale, and the
   sum is that of exponentials[d] of what each number lies d below its row's largest. A unit is a row. */
#define EK_LOG_SOFTMAX(NUMBER, ARRAY)                                                      \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, rows)                                                                  \
    NUMBER(int64_t, depth)                                                                 \
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

/* A convolution of plain float32 pictures; a fully connected layer is one of 1 x 1. Output channel c sees `each` of the
   input's channels, from c / (channels * each / depth) * each on: all of them, those of its group, or one where it is
   depthwise. Sums are those of TFLite's reference kernels, product by product in the order of the weights, each rounded,
   then `bias`. Products are not added where a tap lies outside of the picture. A unit is an output pixel. */
#define EK_REAL_CONV(NUMBER, ARRAY)                                                        \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int32_t, images)                                                                \
    NUMBER(int32_t, rows) /* of the input */                                               \
    NUMBER(int32_t, columns)                                                               \
    NUMBER(int32_t, depth)                                                                 \
    NUMBER(int32_t, height) /* of the output */                                            \
    NUMBER(int32_t, width)                                                                 \
    NUMBER(int32_t, channels)                                                              \
    NUMBER(int32_t, each)                                                                  \
    NUMBER(int32_t, window_height)                                                         \
    NUMBER(int32_t, window_width)                                                          \
    NUMBER(int32_t, stride_y)                                                              \
    NUMBER(int32_t, stride_x)                                                              \
    NUMBER(int32_t, dilation_y)                                                            \
    NUMBER(int32_t, dilation_x)                                                            \
    NUMBER(int32_t, top) /* how far the first window begins before the picture */          \
    NUMBER(int32_t, left)                                                                  \
    ARRAY(float, weights) /* (window_height, window_width, each, channels) */              \
    ARRAY(float, bias)                                                                     \
    NUMBER(float, low)                                                                     \
    NUMBER(float, high)

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

#endif
