/* Functions of a float32. */

#include <math.h>

#include "plain.h"

static float clamped(const ek_real *op, float x) {
    x = x < op->low ? op->low : x;
    return x > op->high ? op->high : x;
}

static float fake_quant(const ek_real *op, float x) {
    return roundf((clamped(op, x) - op->low) * (1 / op->step)) * op->step + op->low;
}

static float hard_swish(float x) {
    float gate = x + 3;
    gate = gate < 0 ? 0 : gate > 6 ? 6 : gate;
    return x * gate / 6;
}

static float gelu(float x) {
    return 0.5f * x * erfcf(x * -0.70710678118654752440f);
}

static float gelu_by_tanh(float x) {
    return 0.5f * x * (1 + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
}

#define LINE(name, expression)                                                                  \
    static void line_##name(const ek_real *op, const float *in, float *out, int64_t count) {    \
        (void)op;                                                                               \
        for (int64_t i = 0; i < count; i++) {                                                   \
            float x = in[i];                                                                    \
            out[i] = (expression);                                                              \
        }                                                                                       \
    }

LINE(abs, fabsf(x))
LINE(neg, -x)
LINE(square, x *x)
LINE(sqrt, sqrtf(x))
LINE(rsqrt, 1 / sqrtf(x))
LINE(floor, floorf(x))
LINE(ceil, ceilf(x))
LINE(round, rintf(x))
LINE(sign, x > 0 ? 1 : x < 0 ? -1 : x)
LINE(clamp, clamped(op, x))
LINE(leaky_relu, x > 0 ? x : x * op->low)
LINE(hard_swish, hard_swish(x))
LINE(fake_quant, fake_quant(op, x))
LINE(exp, expf(x))
LINE(log, logf(x))
LINE(logistic, 1 / (1 + expf(-x)))
LINE(tanh, tanhf(x))
LINE(elu, x < 0 ? expm1f(x) : x)
LINE(gelu, gelu(x))
LINE(gelu_by_tanh, gelu_by_tanh(x))
LINE(sin, sinf(x))
LINE(cos, cosf(x))

typedef void line_fn(const ek_real *op, const float *in, float *out, int64_t count);
static line_fn *const lines[EK_REAL_FUNCTIONS] = {
    [EK_ABS] = line_abs, [EK_NEG] = line_neg, [EK_SQUARE] = line_square, [EK_SQRT] = line_sqrt,
    [EK_RSQRT] = line_rsqrt, [EK_FLOOR] = line_floor, [EK_CEIL] = line_ceil, [EK_ROUND] = line_round,
    [EK_SIGN] = line_sign, [EK_CLAMP] = line_clamp,
    [EK_LEAKY_RELU] = line_leaky_relu, [EK_HARD_SWISH] = line_hard_swish, [EK_FAKE_QUANT] = line_fake_quant, [EK_EXP] = line_exp, [EK_LOG] = line_log,
    [EK_LOGISTIC] = line_logistic, [EK_TANH] = line_tanh, [EK_ELU] = line_elu, [EK_GELU] = line_gelu,
    [EK_GELU_BY_TANH] = line_gelu_by_tanh, [EK_SIN] = line_sin, [EK_COS] = line_cos,
};

void ek_real__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_real *op = raw;
    int64_t first = begin * EK_RUN, count = ek_least(end * EK_RUN, op->count) - first;
    lines[op->function](op, (const float *)EK_SOURCE_OF(op, input, arena) + first, (float *)(arena + op->output) + first, count);
}

const char *ek_real_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_real *op = raw;
    CHECK(0 <= op->function && op->function < EK_REAL_FUNCTIONS, "an unknown function");
    CHECK(1 <= op->count && op->count < EK_LIMIT, "impossible sizes");
    CHECK_SOURCE(op, input, 0, 4 * op->count, 4);
    CHECK_RANGE(op->output, 4 * op->count);
    CHECK_ALIGNED(op->output, 4);
    CHECK_SOURCE_APART(op, input, 0, 4 * op->count, op->output, 4 * op->count);
    *units = ek_divide_up(op->count, EK_RUN);
    return NULL;
}
