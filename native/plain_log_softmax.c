/* The logarithm of softmax over rows of bytes: of int8 in TFLite's fixed point, of uint8 in floats. */

#include <math.h>

#include "plain.h"
#include "requantise.h"

enum {
    SUM_BITS = 12, /* before the point of a sum of exponentials */
    LOG_BITS = 5,  /* of its logarithm, and of what is scaled */
    POINT = 31 - LOG_BITS - 1,
    OUTPUT_SHIFT = 31 - LOG_BITS - 4
};

/* log(x) for x > 0 with SUM_BITS before the point, as gemmlowp: x is 2^n r, with n a whole number and a quarter or three,
   so that r is near sqrt(sqrt(1/2)); the logarithm of r / sqrt(sqrt(1/2)) is a fraction of polynomials. */
static int32_t log_of(int32_t x) {
    const int32_t root = 1805811301, half_root = 1518500250, log_2 = 1488522236, quarter = 1 << (POINT - 2);
    int zeros = __builtin_clz((uint32_t)x), zeros_b = __builtin_clz((uint32_t)ek_doubling_high(x, half_root)) - 1;
    int32_t r_a = ek_saturated(2 * (int64_t)ek_doubling_high((int32_t)((uint32_t)x << (zeros - 1)), half_root));
    int32_t r_b = ek_saturated((int64_t)x << zeros_b);
    int32_t power_a = (SUM_BITS - zeros) * (1 << POINT) + quarter, power_b = (SUM_BITS - zeros_b) * (1 << POINT) - quarter;
    int32_t r = r_a < r_b ? r_a : r_b, power = power_a > power_b ? power_a : power_b;
    int32_t middle = (int32_t)(((int64_t)r + root + 1) / 2), q = 2 * (r - root), square = ek_doubling_high(q, q);
    int32_t above = ek_doubling_high(q, r) + ek_doubling_high(ek_doubling_high(q, square), 117049297);
    int32_t below = ek_doubling_high(middle, 1057819769 + q + ek_doubling_high(127690142, square)) + ek_doubling_high(638450708, q);
    int32_t rest = ek_doubling_high(ek_rounding_shift(above, LOG_BITS + 1), ek_inverse_of_one_plus(below));
    return ek_saturated(2 * ((int64_t)ek_doubling_high(power, log_2) + rest));
}

static void int8_row(const ek_log_softmax_int8 *op, const int8_t *in, int8_t *out) {
    int32_t largest = INT8_MIN, sum = 0;
    for (int64_t i = 0; i < op->depth; i++) largest = in[i] > largest ? in[i] : largest;
    for (int64_t i = 0; i < op->depth; i++) sum += ek_rounding_shift(op->exponentials[largest - in[i]], SUM_BITS);
    const int32_t log = log_of(sum), lowest = (int32_t)((uint32_t)log + (UINT32_C(1) << 31));
    const int32_t sooner = ek_multiply(lowest, op->multiplier, op->shift);
    const int32_t least = op->least > sooner ? op->least : sooner;
    for (int64_t i = 0; i < op->depth; i++) {
        const int32_t below = largest - in[i];
        const int32_t y = ek_saturated((int64_t)op->scaled[below] - log);
        out[i] = -below > least ? (int8_t)ek_clamp(ek_rounding_shift(y, OUTPUT_SHIFT) + INT8_MAX, INT8_MIN, INT8_MAX) : INT8_MIN;
    }
}

void ek_log_softmax_int8__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_log_softmax_int8 *op = raw;
    const int8_t *in = (const int8_t *)EK_SOURCE_OF(op, input, arena);
    for (int64_t row = begin; row < end; row++)
        int8_row(op, in + row * op->depth, (int8_t *)arena + op->output + row * op->depth);
}

const char *ek_log_softmax_int8_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_log_softmax_int8 *op = raw;
    CHECK(1 <= op->rows && op->rows < EK_LIMIT, "impossible sizes");
    CHECK(1 <= op->depth && op->depth < 1 << SUM_BITS, "rows that are too long for their sum");
    CHECK(op->exponentials_size == 256 && op->exponentials[0] == INT32_MAX, "a table of another size");
    CHECK(op->scaled_size == 256 && op->scaled[0] == 0, "a table of another size");
    for (int i = 0; i < 256; i++) CHECK(op->exponentials[i] >= 0 && op->scaled[i] <= 0, "no exponentials");
    CHECK(op->multiplier >= 0 && -31 <= op->shift && op->shift <= 0, "an impossible multiplier");
    int64_t bytes = op->rows * op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 1);
    CHECK_RANGE(op->output, bytes);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}

static void row_of(const ek_log_softmax *op, const uint8_t *in, uint8_t *out) {
    int32_t largest = 0;
    float sum = 0;
    for (int64_t i = 0; i < op->depth; i++) largest = in[i] > largest ? in[i] : largest;
    for (int64_t i = 0; i < op->depth; i++) sum += op->exponentials[largest - in[i]];
    float scale = op->input_scale / op->output_scale;
    float rest = (op->input_scale * (float)largest + (float)log((double)sum)) / op->output_scale;
    for (int64_t i = 0; i < op->depth; i++) {
        float real = rintf(scale * (float)in[i] - rest) + UINT8_MAX;
        out[i] = (uint8_t)(real < 0 ? 0 : real > UINT8_MAX ? UINT8_MAX : real);
    }
}

void ek_log_softmax__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_log_softmax *op = raw;
    for (int64_t row = begin; row < end; row++)
        row_of(op, EK_SOURCE_OF(op, input, arena) + row * op->depth, arena + op->output + row * op->depth);
}

const char *ek_log_softmax_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_log_softmax *op = raw;
    CHECK(1 <= op->rows && op->rows < EK_LIMIT && 1 <= op->depth && op->depth < EK_LIMIT / op->rows, "impossible sizes");
    CHECK(op->exponentials_size == 256 && op->exponentials[0] == 1, "a table of another size");
    for (int i = 0; i < 256; i++) CHECK(op->exponentials[i] >= 0 && op->exponentials[i] <= 1, "no exponentials");
    CHECK(op->input_scale > 0 && op->input_scale < 1e6f && op->output_scale > 1e-6f, "scales that are too far apart");
    int64_t bytes = op->rows * op->depth;
    CHECK_SOURCE(op, input, 0, bytes, 1);
    CHECK_RANGE(op->output, bytes);
    CHECK_SOURCE_APART(op, input, 0, bytes, op->output, bytes);
    *units = op->rows;
    return NULL;
}
