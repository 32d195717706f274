/* The operations. Each is a list of fields, from which its struct and the table for Python are made:
   NUMBER(type, name) and ARRAY(type, name), an array being `const type *name` and `int64_t name_size`, its number
   of elements. Places in the arena are byte offsets. */

#ifndef EK_OPS_H
#define EK_OPS_H

#include "ops_conv.h"
#include "ops_many.h"
#include "ops_pick.h"
#include "ops_plain.h"
#include "ops_planes.h"

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
    FAMILY(join_phases, EK_JOIN_PHASES)                                                    \
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
    FAMILY(log_softmax_int8, EK_LOG_SOFTMAX_INT8)                                          \
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
    FAMILY(real, EK_REAL)                                                                  \
    FAMILY(real_conv, EK_REAL_CONV)

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
