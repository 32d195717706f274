/* Functions of two numbers that are what they seem: floats and whole numbers without a scale. */

#include <math.h>

#include "plain.h"

/* A line of each function for each type. Whole numbers wrap around, so they are computed without a sign. */
#define LINE(name, in, out_type, expression)                                                                  \
    static void name(const void *raw, const uint8_t *first, int64_t first_stride, const uint8_t *second,      \
                     int64_t second_stride, uint8_t *target, int64_t count) {                                 \
        const ek_binary *op = raw;                                                                            \
        (void)op;                                                                                             \
        for (int64_t i = 0; i < count; i++) {                                                                 \
            in a = *(const in *)(first + i * first_stride), b = *(const in *)(second + i * second_stride);    \
            ((out_type *)target)[i] = (out_type)(expression);                                                 \
        }                                                                                                     \
    }

static inline float clamped(const ek_binary *op, float x) {
    x = x < op->low ? op->low : x;
    return x > op->high ? op->high : x;
}

/* The quotient towards 0; 0 over 0 and its like are 0, which the CPU would trap on. */
static inline int64_t quotient(int64_t a, int64_t b) {
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    return b ? a / b : 0;
}

/* That towards minus infinity, and its rest */
static inline int64_t floor_div(int64_t a, int64_t b) {
    if (b == 0 || b == -1) return quotient(a, b);
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int64_t floor_mod(int64_t a, int64_t b) {
    return b ? (int64_t)((uint64_t)a - (uint64_t)floor_div(a, b) * (uint64_t)b) : 0;
}

static inline int64_t shifted(int64_t a, int64_t by, int64_t most) {
    return a >> (by < 0 ? 0 : by > most ? most : by);
}

static inline float floor_mod_float(float a, float b) {
    float rest = fmodf(a, b);
    return rest != 0 && (b < 0) != (rest < 0) ? rest + b : rest;
}

#define WRAPPED(sign) ((uint64_t)a sign (uint64_t)b)

#define COMPARISONS(name, type)                          \
    LINE(name##_equal, type, uint8_t, a == b)            \
    LINE(name##_not_equal, type, uint8_t, a != b)        \
    LINE(name##_less, type, uint8_t, a < b)              \
    LINE(name##_less_equal, type, uint8_t, a <= b)       \
    LINE(name##_greater, type, uint8_t, a > b)           \
    LINE(name##_greater_equal, type, uint8_t, a >= b)    \
    LINE(name##_maximum, type, type, a > b ? a : b)      \
    LINE(name##_minimum, type, type, a < b ? a : b)

#define WHOLE(name, type)                                                      \
    LINE(name##_add, type, type, WRAPPED(+))                                   \
    LINE(name##_sub, type, type, WRAPPED(-))                                   \
    LINE(name##_mul, type, type, WRAPPED(*))                                   \
    LINE(name##_squared_difference, type, type, WRAPPED(-) * WRAPPED(-))       \
    LINE(name##_floor_div, type, type, floor_div(a, b))                        \
    LINE(name##_floor_mod, type, type, floor_mod(a, b))                        \
    LINE(name##_div, type, type, quotient(a, b))                               \
    LINE(name##_bitwise_xor, type, type, a ^ b)                                \
    LINE(name##_right_shift, type, type, shifted(a, b, 8 * (int64_t)sizeof(type) - 1)) \
    COMPARISONS(name, type)

WHOLE(INT8, int8_t)
WHOLE(UINT8, uint8_t)
WHOLE(INT16, int16_t)
WHOLE(INT32, int32_t)
WHOLE(INT64, int64_t)
COMPARISONS(FLOAT32, float)
LINE(FLOAT32_add, float, float, clamped(op, a + b))
LINE(FLOAT32_sub, float, float, clamped(op, a - b))
LINE(FLOAT32_mul, float, float, clamped(op, a *b))
LINE(FLOAT32_div, float, float, clamped(op, a / b))
LINE(FLOAT32_prelu, float, float, a >= 0 ? a : a *b)
LINE(FLOAT32_squared_difference, float, float, (a - b) * (a - b))
LINE(FLOAT32_pow, float, float, powf(a, b))
LINE(FLOAT32_atan2, float, float, atan2f(a, b))
LINE(FLOAT32_floor_div, float, float, floor((double)a / (double)b))
LINE(FLOAT32_floor_mod, float, float, floor_mod_float(a, b))

#define LINES(name, type)                                                                                       \
    [EK_##name] = {                                                                                             \
        [EK_ADD] = name##_add, [EK_SUB] = name##_sub, [EK_MUL] = name##_mul, [EK_MAXIMUM] = name##_maximum,     \
        [EK_MINIMUM] = name##_minimum, [EK_SQUARED_DIFFERENCE] = name##_squared_difference,                     \
        [EK_EQUAL] = name##_equal, [EK_NOT_EQUAL] = name##_not_equal, [EK_LESS] = name##_less,                  \
        [EK_LESS_EQUAL] = name##_less_equal, [EK_GREATER] = name##_greater,                                     \
        [EK_GREATER_EQUAL] = name##_greater_equal, [EK_FLOOR_DIV] = name##_floor_div,                           \
        [EK_FLOOR_MOD] = name##_floor_mod, [EK_DIV] = name##_div,                                               \
    },

static ek_line *const lines[EK_TYPE_COUNT][EK_FUNCTIONS] = {EK_TYPES(LINES)};

#define SIZE(name, type) sizeof(type),
static const int64_t sizes[EK_TYPE_COUNT] = {EK_TYPES(SIZE)};

static ek_line *line_of(const ek_binary *op) {
    static ek_line *const real[EK_FUNCTIONS] = {
        [EK_PRELU] = FLOAT32_prelu, [EK_POW] = FLOAT32_pow, [EK_ATAN2] = FLOAT32_atan2,
    };
    static ek_line *const xors[] = {NULL, INT8_bitwise_xor, UINT8_bitwise_xor, INT16_bitwise_xor, INT32_bitwise_xor, INT64_bitwise_xor};
    static ek_line *const shifts[] = {NULL, INT8_right_shift, UINT8_right_shift, INT16_right_shift, INT32_right_shift, INT64_right_shift};
    if (op->function == EK_BITWISE_XOR) return xors[op->type];
    if (op->function == EK_RIGHT_SHIFT) return shifts[op->type];
    return op->type == EK_FLOAT32 && real[op->function] ? real[op->function] : lines[op->type][op->function];
}

void ek_binary__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_binary *op = raw;
    EK_WALK(op, line_of(op), arena, op->function >= EK_EQUAL ? 1 : sizes[op->type], begin, end);
}

const char *ek_binary_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_binary *op = raw;
    CHECK(0 <= op->type && op->type < EK_TYPE_COUNT, "an unknown type");
    CHECK(0 <= op->function && op->function < EK_FUNCTIONS && line_of(op), "an unknown function");
    CHECK_OPERANDS(op, sizes[op->type], op->function >= EK_EQUAL ? 1 : sizes[op->type]);
    return NULL;
}
