/* Operations on plain tensors that pick numbers. */

#ifndef EK_OPS_PICK_H
#define EK_OPS_PICK_H

#include "ek.h"

/* Blocks of `run` bytes picked by number: out[o][i] = in[o][index[i]], for each of `outer` slices of `count` blocks. A
   unit is EK_PICKS blocks of a slice of the output. */
#define EK_GATHER(NUMBER, ARRAY)                                                           \
    EK_SOURCE(NUMBER, ARRAY, input)                                                        \
    NUMBER(int64_t, output)                                                                \
    NUMBER(int64_t, outer)                                                                 \
    NUMBER(int64_t, count)                                                                 \
    NUMBER(int64_t, run)                                                                   \
    ARRAY(int32_t, index)   /* 0..count - 1 */

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

#endif
