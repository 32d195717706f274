/* Numbers of one type to another: quantised or as C converts them. */

#include "plain.h"
#include "requantise.h"

#define SIZE(name, type) sizeof(type),
static const int64_t sizes[EK_TYPE_COUNT] = {EK_TYPES(SIZE)};
static const int64_t lowest[] = {0, INT8_MIN, 0, INT16_MIN, INT32_MIN, 0}, highest[] = {0, INT8_MAX, UINT8_MAX, INT16_MAX, INT32_MAX, 0};

static const char *check(const void *input_data, int64_t input, int64_t input_data_size, int64_t output, int64_t count, int from, int to, int64_t arena_bytes, int64_t *units) {
    struct { const void *input_data; int64_t input, input_data_size; } at = {input_data, input, input_data_size};
    CHECK(0 <= from && from < EK_TYPE_COUNT && 0 <= to && to < EK_TYPE_COUNT, "an unknown type");
    CHECK(1 <= count && count < EK_LIMIT, "impossible sizes");
    CHECK_SOURCE(&at, input, 0, count * sizes[from], sizes[from]);
    CHECK_RANGE(output, count * sizes[to]);
    CHECK_ALIGNED(output, sizes[to]);
    CHECK_SOURCE_APART(&at, input, 0, count * sizes[from], output, count * sizes[to]);
    *units = ek_divide_up(count, EK_RUN);
    return NULL;
}

#define CHECK_CONVERSION(op, from, to)                                                                         \
    do {                                                                                                       \
        const char *wrong_ = check((op)->input_data, (op)->input, (op)->input_data_size, (op)->output,         \
                                   (op)->count, from, to, arena_bytes, units);                                 \
        if (wrong_) return wrong_;                                                                             \
    } while (0)

/* A whole number of `type` */
static inline int is_narrow(int type) {
    return type == EK_INT8 || type == EK_UINT8 || type == EK_INT16 || type == EK_INT32;
}

/* Less than what can matter, before the conversion to a whole number; NaN is like the least. */
static inline float bounded(float x) {
    x = x > -1e6f ? x : -1e6f;
    return x < 1e6f ? x : 1e6f;
}

/* To the nearest whole number, ties away from zero; x is small. */
static inline int32_t nearest(float x) {
    int32_t whole = (int32_t)x;
    return whole + (int32_t)((x - (float)whole) * 2);
}

/* In three loops, each of which a compiler vectorises */
static void quantize_few(const ek_quantize *op, const float *in, int32_t *out, int64_t count) {
    float scaled[EK_PICKS];
    int32_t low = (int32_t)lowest[op->type], high = (int32_t)highest[op->type];
    for (int64_t i = 0; i < count; i++) scaled[i] = bounded(in[i] / op->scale);
    for (int64_t i = 0; i < count; i++) out[i] = nearest(scaled[i]);
    for (int64_t i = 0; i < count; i++) out[i] = ek_clamp(out[i] + op->zero_point, low, high);
}

void ek_quantize__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_quantize *op = raw;
    int64_t first = begin * EK_RUN, count = ek_least(end * EK_RUN, op->count) - first;
    const float *in = (const float *)EK_SOURCE_OF(op, input, arena) + first;
    uint8_t *out = arena + op->output + first * sizes[op->type];
    for (int64_t start = 0; start < count; start += EK_PICKS) {
        int64_t few = ek_least(EK_PICKS, count - start);
        int32_t numbers[EK_PICKS];
        quantize_few(op, in + start, numbers, few);
        if (op->type == EK_INT16)
            for (int64_t i = 0; i < few; i++) ((int16_t *)out)[start + i] = (int16_t)numbers[i];
        else
            for (int64_t i = 0; i < few; i++) out[start + i] = (uint8_t)numbers[i];
    }
}

const char *ek_quantize_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_quantize *op = raw;
    CHECK_CONVERSION(op, EK_FLOAT32, op->type);
    CHECK(is_narrow(op->type) && op->type != EK_INT32, "an unknown type");
    CHECK(op->scale > 0, "a scale that is not positive");
    CHECK(-32768 <= op->zero_point && op->zero_point <= 32767, "an impossible zero point");
    return NULL;
}

#define DEQUANTIZE(name, type)                                                                                  \
    case EK_##name:                                                                                             \
        for (int64_t i = 0; i < count; i++) out[i] = op->scale * (float)(((const type *)in)[i] - op->zero_point); \
        break;

void ek_dequantize__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_dequantize *op = raw;
    int64_t first = begin * EK_RUN, count = ek_least(end * EK_RUN, op->count) - first;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena) + first * sizes[op->type];
    float *out = (float *)(arena + op->output) + first;
    switch (op->type) {
        DEQUANTIZE(INT8, int8_t)
        DEQUANTIZE(UINT8, uint8_t)
        DEQUANTIZE(INT16, int16_t)
    }
}

const char *ek_dequantize_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_dequantize *op = raw;
    CHECK_CONVERSION(op, op->type, EK_FLOAT32);
    CHECK(is_narrow(op->type) && op->type != EK_INT32, "an unknown type");
    CHECK(-32768 <= op->zero_point && op->zero_point <= 32767, "an impossible zero point");
    return NULL;
}

static inline int32_t whole(const uint8_t *in, int type, int64_t i) {
    return type == EK_INT8 ? ((const int8_t *)in)[i] : type == EK_UINT8 ? in[i]
         : type == EK_INT16 ? ((const int16_t *)in)[i] : ((const int32_t *)in)[i];
}

static inline void put(uint8_t *out, int type, int64_t i, int32_t value) {
    if (type == EK_INT32)
        ((int32_t *)out)[i] = value;
    else if (type == EK_INT16)
        ((int16_t *)out)[i] = (int16_t)value;
    else
        out[i] = (uint8_t)value;
}

void ek_requantize__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_requantize *op = raw;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena);
    int64_t low = lowest[op->output_type], high = highest[op->output_type], last = ek_least(end * EK_RUN, op->count);
    for (int64_t i = begin * EK_RUN; i < last; i++) {
        int32_t shifted = (int32_t)((uint32_t)whole(in, op->type, i) - (uint32_t)op->zero_point);
        int64_t y = (int64_t)ek_multiply(shifted, op->multiplier, op->shift) + op->output_zero_point;
        put(arena + op->output, op->output_type, i, (int32_t)(y < low ? low : y > high ? high : y));
    }
}

const char *ek_requantize_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_requantize *op = raw;
    CHECK_CONVERSION(op, op->type, op->output_type);
    CHECK(is_narrow(op->type) && is_narrow(op->output_type), "an unknown type");
    CHECK(-31 <= op->shift && op->shift <= 30 && op->multiplier >= 0, "an impossible multiplier");
    return NULL;
}

/* What a float is as a whole number between two bounds that are floats */
static inline int64_t truncated(float x, int64_t low, int64_t high) {
    return !(x == x) ? 0 : x <= (float)low ? low : x >= (float)high ? high : (int64_t)x;
}

static inline int64_t widest(const uint8_t *in, int from, int to, int64_t i) {
    if (from == EK_INT64) return ((const int64_t *)in)[i];
    if (from != EK_FLOAT32) return whole(in, from, i);
    return truncated(((const float *)in)[i], to == EK_INT64 ? INT64_MIN : lowest[to], to == EK_INT64 ? INT64_MAX : highest[to]);
}

void ek_cast__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_cast *op = raw;
    const uint8_t *in = EK_SOURCE_OF(op, input, arena);
    uint8_t *out = arena + op->output;
    int64_t last = ek_least(end * EK_RUN, op->count);
    for (int64_t i = begin * EK_RUN; i < last; i++)
        if (op->output_type == EK_FLOAT32)
            ((float *)out)[i] = op->type == EK_FLOAT32 ? ((const float *)in)[i] : (float)widest(in, op->type, EK_INT64, i);
        else if (op->output_type == EK_INT64)
            ((int64_t *)out)[i] = widest(in, op->type, EK_INT64, i);
        else
            put(out, op->output_type, i, (int32_t)widest(in, op->type, op->output_type, i));
}

const char *ek_cast_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_cast *op = raw;
    CHECK_CONVERSION(op, op->type, op->output_type);
    return NULL;
}
