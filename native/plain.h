/* What the kernels on plain tensors share: sources that may be constants, and walks over broadcast operands. */

#ifndef EK_PLAIN_H
#define EK_PLAIN_H

#include <stdint.h>

#include "check.h"

/* Where a source's numbers start: see EK_SOURCE in ops_plain.h. */
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

/* What an operation with computed indices touches: `in`, `indices` and `out` bytes, and the int32 at `fault`. */
#define CHECK_INDEXED(op, in, item, indices, index_item, out)                   \
    do {                                                                        \
        CHECK_SOURCE(op, input, 0, in, item);                                   \
        CHECK_SOURCE(op, index, 0, indices, index_item);                        \
        CHECK_RANGE((op)->output, out);                                         \
        CHECK_ALIGNED((op)->output, item);                                      \
        CHECK_RANGE((op)->fault, 4);                                            \
        CHECK_ALIGNED((op)->fault, 4);                                          \
        CHECK_APART((op)->fault, 4, (op)->output, out);                         \
        CHECK_SOURCE_APART(op, input, 0, in, (op)->output, out);                \
        CHECK_SOURCE_APART(op, index, 0, indices, (op)->output, out);           \
        CHECK_SOURCE_APART(op, input, 0, in, (op)->fault, 4);                   \
        CHECK_SOURCE_APART(op, index, 0, indices, (op)->fault, 4);              \
    } while (0)

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

/* One stretch of a walk over two operands: `count` numbers, the operands' a fixed number of bytes apart. */
typedef void ek_line(const void *op, const uint8_t *first, int64_t first_stride, const uint8_t *second,
                     int64_t second_stride, uint8_t *out, int64_t count);

/* Calls `line` for numbers [start, end) of the output, which is dense, of `item` bytes each. */
static inline void ek_walk(const void *op, ek_line *line, const int64_t *sizes, const int64_t *first_strides,
                           const int64_t *second_strides, int64_t rank, const uint8_t *first, const uint8_t *second,
                           uint8_t *out, int64_t item, int64_t start, int64_t end) {
    int64_t at[EK_MAX_RANK], rest = start, last = rank - 1;
    for (int64_t d = last; d >= 0; d--) {
        at[d] = rest % sizes[d], rest /= sizes[d];
        first += at[d] * first_strides[d], second += at[d] * second_strides[d];
    }
    while (start < end) {
        int64_t count = ek_least(sizes[last] - at[last], end - start);
        line(op, first, first_strides[last], second, second_strides[last], out + start * item, count);
        start += count, at[last] += count;
        first += count * first_strides[last], second += count * second_strides[last];
        for (int64_t d = last; d > 0 && at[d] == sizes[d]; d--) {
            first += first_strides[d - 1] - sizes[d] * first_strides[d];
            second += second_strides[d - 1] - sizes[d] * second_strides[d];
            at[d] = 0, at[d - 1]++;
        }
    }
}

#define EK_WALK(op, line, arena, item, begin, end)                                                              \
    ek_walk(op, line, (op)->sizes, (op)->first_strides, (op)->second_strides, (op)->sizes_size,                 \
            EK_SOURCE_OF(op, first, arena), EK_SOURCE_OF(op, second, arena), (arena) + (op)->output, item,      \
            (begin) * EK_RUN, ek_least((end) * EK_RUN, ek_count((op)->sizes, (op)->sizes_size)))

static inline int64_t ek_count(const int64_t *sizes, int64_t rank) {
    int64_t count = 1;
    for (int64_t d = 0; d < rank; d++) count *= sizes[d];
    return count;
}

/* That the operands can be walked over: numbers of `in` bytes, giving `out` bytes each. */
#define CHECK_OPERANDS(op, in, out)                                                                             \
    do {                                                                                                        \
        int64_t rank_ = (op)->sizes_size, all_ = 1, low_, high_;                                                \
        CHECK(1 <= rank_ && rank_ <= EK_MAX_RANK, "an impossible number of axes");                              \
        CHECK((op)->first_strides_size == rank_ && (op)->second_strides_size == rank_, "strides of another number"); \
        for (int64_t d = 0; d < rank_; d++) {                                                                   \
            CHECK(1 <= (op)->sizes[d] && (op)->sizes[d] < EK_LIMIT / all_, "impossible sizes");                 \
            CHECK((op)->first_strides[d] % (in) == 0 && (op)->second_strides[d] % (in) == 0, "impossible strides"); \
            all_ *= (op)->sizes[d];                                                                             \
        }                                                                                                       \
        CHECK_RANGE((op)->output, all_ * (out));                                                                \
        CHECK_ALIGNED((op)->output, out);                                                                       \
        CHECK_OPERAND(op, first, in, out);                                                                      \
        CHECK_OPERAND(op, second, in, out);                                                                     \
        *units = ek_divide_up(all_, EK_RUN);                                                                    \
    } while (0)

#define CHECK_OPERAND(op, name, in, out)                                                                        \
    CHECK(ek_extent((op)->sizes, (op)->name##_strides, rank_, in, &low_, &high_), "impossible strides");        \
    CHECK_SOURCE(op, name, low_, high_, in);                                                                    \
    CHECK_SOURCE_APART(op, name, low_, high_, (op)->output, all_ *(out))

#endif
