/* Numbers taken together along axes. */

#include "plain.h"
#include "requantise.h"

/* Places of a walk over strided numbers, one after another */
typedef struct walk {
    int64_t at[EK_MAX_RANK], offset;
} walk;

/* To the next place, the last axis fastest; 0 after the last. */
static int step(walk *w, const int64_t *sizes, const int64_t *strides, int64_t rank) {
    for (int64_t d = rank - 1; d >= 0; d--) {
        w->offset += strides[d];
        if (++w->at[d] < sizes[d]) return 1;
        w->offset -= sizes[d] * strides[d], w->at[d] = 0;
    }
    return 0;
}

/* What is put together in a unit: `count` numbers, `stride` bytes apart, each with those that are reduced. */
#define REDUCE(name, type, sum_type)                                                                         \
    static void reduce_##name(const ek_reduce *op, const uint8_t *in, int64_t stride, type *out, int64_t count) { \
        sum_type total[EK_PICKS];                                                                            \
        walk w = {0};                                                                                        \
        int first = op->function == EK_MAX || op->function == EK_MIN;                                        \
        for (int64_t i = 0; i < count; i++)                                                                  \
            total[i] = first ? *(const type *)(in + i * stride) : op->function == EK_PROD;                   \
        do {                                                                                                 \
            const uint8_t *from = in + w.offset;                                                             \
            if (op->function == EK_MAX)                                                                      \
                for (int64_t i = 0; i < count; i++) total[i] = LARGER(total[i], *(const type *)(from + i * stride)); \
            else if (op->function == EK_MIN)                                                                 \
                for (int64_t i = 0; i < count; i++) total[i] = SMALLER(total[i], *(const type *)(from + i * stride)); \
            else if (op->function == EK_PROD)                                                                \
                for (int64_t i = 0; i < count; i++) total[i] = TIMES_##name(total[i], *(const type *)(from + i * stride)); \
            else if (stride == sizeof(type))                                                                 \
                for (int64_t i = 0; i < count; i++) total[i] += ((const type *)from)[i];                     \
            else                                                                                             \
                for (int64_t i = 0; i < count; i++) total[i] += *(const type *)(from + i * stride);          \
        } while (step(&w, op->reduced_sizes, op->reduced_strides, op->reduced_sizes_size));                  \
        FINISH_##name                                                                                        \
    }

#define LARGER(a, b) ((b) > (a) ? (b) : (a))
#define SMALLER(a, b) ((b) < (a) ? (b) : (a))

static inline int64_t reduced_count(const ek_reduce *op) {
    return ek_count(op->reduced_sizes, op->reduced_sizes_size);
}

static inline int32_t quantised(const ek_reduce *op, int64_t total, int32_t low, int32_t high) {
    int32_t sum = (int32_t)(total - op->zero_point);
    return ek_clamp(ek_multiply(sum, op->multiplier, op->shift) + op->output_zero_point, low, high);
}

#define FINISH(type, divisor)                                     \
    int64_t parts = op->function == EK_MEAN ? reduced_count(op) : 1; \
    for (int64_t i = 0; i < count; i++) out[i] = (type)(total[i] / (divisor)parts);
#define FINISH_BYTES(type, low, high)                                                            \
    if (op->quantised)                                                                           \
        for (int64_t i = 0; i < count; i++) out[i] = (type)quantised(op, total[i], low, high);   \
    else {                                                                                       \
        FINISH(type, int32_t)                                                                    \
    }
/* Products of whole numbers wrap around, which those with a sign may not; of bytes there are none. */
#define WRAPPED(a, b) ((int64_t)((uint64_t)(a) * (uint64_t)(b)))
#define TIMES_float(a, b) ((a) * (b))
#define TIMES_int32 WRAPPED
#define TIMES_int64 WRAPPED
#define TIMES_int8(a, b) (a)
#define TIMES_uint8(a, b) (a)
#define FINISH_float FINISH(float, float)
#define FINISH_int32 FINISH(int32_t, int64_t)
#define FINISH_int64 FINISH(int64_t, int64_t)
#define FINISH_int8 FINISH_BYTES(int8_t, INT8_MIN, INT8_MAX)
#define FINISH_uint8 FINISH_BYTES(uint8_t, 0, UINT8_MAX)

REDUCE(float, float, float)
REDUCE(int32, int32_t, int64_t)
REDUCE(int64, int64_t, int64_t)
REDUCE(int8, int8_t, int32_t)
REDUCE(uint8, uint8_t, int32_t)

static int64_t size_of(int type) {
    return type == EK_FLOAT32 || type == EK_INT32 ? 4 : type == EK_INT64 ? 8 : type == EK_INT8 || type == EK_UINT8 ? 1 : 0;
}

void ek_reduce__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_reduce *op = raw;
    int64_t last = op->sizes_size - 1, groups = ek_divide_up(op->sizes[last], EK_PICKS), stride = op->strides[last];
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit % groups * EK_PICKS, count = ek_least(EK_PICKS, op->sizes[last] - first), line = unit / groups;
        int64_t offset = first * stride, at = line * op->sizes[last] + first;
        for (int64_t d = last - 1; d >= 0; line /= op->sizes[d--]) offset += line % op->sizes[d] * op->strides[d];
        const uint8_t *in = EK_SOURCE_OF(op, input, arena) + offset;
        void *out = arena + op->output + at * size_of(op->type);
        switch (op->type) {
            case EK_FLOAT32: reduce_float(op, in, stride, out, count); break;
            case EK_INT32: reduce_int32(op, in, stride, out, count); break;
            case EK_INT64: reduce_int64(op, in, stride, out, count); break;
            case EK_INT8: reduce_int8(op, in, stride, out, count); break;
            default: reduce_uint8(op, in, stride, out, count);
        }
    }
}

const char *ek_reduce_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_reduce *op = raw;
    int64_t item = size_of(op->type), all = 1, reduced = 1, low, high, more_low, more_high;
    int64_t rank = op->sizes_size, reduced_rank = op->reduced_sizes_size;
    CHECK(0 <= op->type && op->type < EK_TYPE_COUNT && item, "an unknown type");
    CHECK(0 <= op->function && op->function <= EK_PROD, "an unknown function");
    CHECK(op->function != EK_PROD || item > 1, "a product of bytes");
    CHECK(1 <= rank && rank <= EK_MAX_RANK && 1 <= reduced_rank && reduced_rank <= EK_MAX_RANK, "an impossible number of axes");
    CHECK(op->strides_size == rank && op->reduced_strides_size == reduced_rank, "strides of another number");
    CHECK(ek_extent(op->sizes, op->strides, rank, item, &low, &high), "impossible sizes");
    CHECK(ek_extent(op->reduced_sizes, op->reduced_strides, reduced_rank, 0, &more_low, &more_high), "impossible sizes");
    for (int64_t d = 0; d < rank; d++) {
        CHECK(op->sizes[d] < EK_LIMIT / all && op->strides[d] % item == 0, "impossible sizes");
        all *= op->sizes[d];
    }
    for (int64_t d = 0; d < reduced_rank; d++) {
        CHECK(op->reduced_sizes[d] < (EK_LIMIT >> 8) / reduced && op->reduced_strides[d] % item == 0, "impossible sizes");
        reduced *= op->reduced_sizes[d];
    }
    CHECK(-31 <= op->shift && op->shift <= 30 && op->multiplier >= 0, "an impossible multiplier");
    CHECK(-128 <= op->output_zero_point && op->output_zero_point <= 255, "an impossible zero point");
    CHECK(op->zero_point > -(EK_LIMIT >> 1) && op->zero_point < EK_LIMIT >> 1, "an impossible zero point");
    low += more_low, high += more_high;
    CHECK_SOURCE(op, input, low, high, item);
    CHECK_RANGE(op->output, all * item);
    CHECK_ALIGNED(op->output, item);
    CHECK_SOURCE_APART(op, input, low, high, op->output, all * item);
    *units = all / op->sizes[rank - 1] * ek_divide_up(op->sizes[rank - 1], EK_PICKS);
    return NULL;
}
