/* What the kernels on plain tensors share: sources that may be constants, and walks over broadcast operands. */

#ifndef EK_PLAIN_H
#define EK_PLAIN_H

#include <stdint.h>

#include "check.h"

/* Where a source's numbers start: see EK_SOURCE in ops.h. */
#define EK_SOURCE_OF(op, name, arena) \
    ((op)->name##_data_size ? (op)->name##_data + (op)->name : (const uint8_t *)(arena) + (op)->name)

/* That a source's bytes from `low` to `high`, counted from its place, can be read, and its numbers are aligned. */
#define CHECK_SOURCE(op, name, low, high, alignment)                                                          \
    do {                                                                                                      \
        int64_t room_ = (op)->name##_data_size ? (op)->name##_data_size : arena_bytes;                        \
        CHECK((op)->name >= 0 && (op)->name <= room_, "a source outside its memory");                         \
        CHECK((op)->name + (low) >= 0 && (op)->name + (high) <= room_, "a source outside its memory");        \
        CHECK(((uintptr_t)(op)->name##_data + (uintptr_t)(op)->name) % (alignment) == 0, "a source that is not aligned"); \
    } while (0)

/* That a source in the arena does not overlap what is written. */
#define CHECK_SOURCE_APART(op, name, low, high, output, output_size)                                          \
    CHECK((op)->name##_data_size || ek_apart((op)->name + (low), (high) - (low), output, output_size),        \
          "a step whose input and output overlap")

#define CHECK_ALIGNED(place, alignment) CHECK((place) % (alignment) == 0, "a tensor that is not aligned")

static inline int64_t ek_divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t ek_least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The bytes that strided items may lie in, from *low to *high, counted from the first item's. 0 if the sizes or
   strides are not sane. */
static inline int ek_extent(const int64_t *sizes, const int64_t *strides, int64_t rank, int64_t item, int64_t *low,
                            int64_t *high) {
    *low = 0, *high = item;
    for (int64_t d = 0; d < rank; d++) {
        if (sizes[d] < 1 || sizes[d] >= EK_LIMIT || strides[d] <= -EK_LIMIT || strides[d] >= EK_LIMIT) return 0;
        int64_t reach = (sizes[d] - 1) * strides[d];
        if (reach > INT64_C(1) << 40 || reach < -(INT64_C(1) << 40)) return 0;
        *(reach < 0 ? low : high) += reach;
    }
    return 1;
}

#endif
