/* Operations on plain tensors, number by number. */

#ifndef EK_OPS_PLAIN_H
#define EK_OPS_PLAIN_H

#include "ek.h"

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

#endif
