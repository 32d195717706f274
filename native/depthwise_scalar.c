/* Depthwise convolutions on planes: the definition that every ISA level is tested against, and their check. */

#include "check.h"
#include "margin.h"
#include "requantise.h"

enum { MAX_BIAS = 1 << 30, MAX_TAPS = 16384, BIASED_REACH = 1 << 22 };

/* The window at `in`, of channel c % 4; `weights` are the plane's first set */
static int32_t sum_of(const ek_depthwise *op, const ek_byte *in, const int8_t *weights, int64_t c) {
    int32_t sum = op->bias[c];
    for (int64_t set = 0; set < op->sets; set++)
        for (int64_t y = 0; y < op->window_height; y++)
            for (int64_t x = 0; x < op->window_width; x++, weights += EK_QUAD)
                sum += in[EK_QUAD * (y * op->input_pitch + x)] * *weights;
    return sum;
}

static int32_t value_of(const ek_depthwise *op, int64_t c, int32_t sum) {
    if (!op->biased) return EK_REQUANTISED(op, c, sum);
    return ek_clamp(ek_scale_biased(sum, op->scale[c], op->biased_zero_point[c]), op->low, op->high);
}

static void row(const ek_depthwise *op, const ek_byte *in, ek_byte *out, const int8_t *weights, int64_t c) {
    for (int64_t x = 0; x < op->width; x++) {
        int32_t sum = sum_of(op, in + EK_QUAD * x * op->stride, weights, c);
        out[EK_QUAD * x] = (ek_byte)value_of(op, c, sum);
    }
}

static void channel(const ek_depthwise *op, const ek_byte *in, ek_byte *out, int64_t c) {
    int64_t taps = (int64_t)op->window_height * op->window_width, member = c % EK_QUAD;
    const int8_t *weights = op->weights + c / EK_QUAD * op->sets * taps * EK_QUAD + member;
    for (int64_t i = 0; i < op->images; i++)
        for (int64_t y = 0; y < op->height; y++) {
            int64_t from = (i * op->input_period + y * op->stride) * op->input_pitch;
            int64_t to = (i * op->period + y) * op->output_pitch;
            row(op, in + EK_QUAD * from + member, out + EK_QUAD * to + member, weights, c);
        }
}

void ek_depthwise__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_depthwise *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        uint8_t *in = arena + op->input + q * op->input_stride, *out = arena + op->output + q * op->output_stride;
        for (int64_t c = q * EK_QUAD; c < (q + 1) * EK_QUAD; c++) channel(op, (ek_byte *)in, (ek_byte *)out, c);
        ek_restore_margins(&margins, out, 0, margins.pixels);
    }
}

/* What the products of channel c may come to, whatever the input */
static void reach_of(const ek_depthwise *op, int64_t c, double *low, double *high) {
    int64_t weights = (int64_t)op->sets * op->window_height * op->window_width;
    const int8_t *weight = op->weights + c / EK_QUAD * weights * EK_QUAD + c % EK_QUAD;
    *low = *high = 0;
    for (int64_t i = 0; i < weights; i++, weight += EK_QUAD) {
        *low += *weight * (*weight > 0 ? EK_FLIP - 128 : EK_FLIP + 127);
        *high += *weight * (*weight > 0 ? EK_FLIP + 127 : EK_FLIP - 128);
    }
}

static const char *check_channel(const ek_depthwise *op, int64_t c) {
    double low, high, bias = (double)op->bias[c] - (op->biased ? EK_BIASED : 0);
    reach_of(op, c, &low, &high);
    low += bias, high += bias;
    double reach = fmax(fabs(low), fabs(high));
    CHECK(fabs(bias) <= MAX_BIAS, "an impossible bias");
    CHECK(!op->biased || (low >= -BIASED_REACH && high < BIASED_REACH), "sums that cannot be biased");
    CHECK(op->exact || ek_is_scale(op->scale[c], reach), "an impossible scale");
    CHECK(!op->biased || fabsf(op->biased_zero_point[c]) < (float)INT32_MAX, "an impossible zero point");
    CHECK(!op->exact || ek_is_multiplier(op->multiplier[c], op->shift[c]), "an impossible multiplier");
    return NULL;
}

static const char *check_requantisation(const ek_depthwise *op) {
    int64_t channels = EK_QUAD * (int64_t)op->planes, exact = op->exact ? channels : 0;
    CHECK(op->bias_size == channels && op->scale_size == channels, "another number of biases or scales");
    CHECK(op->multiplier_size == exact && op->shift_size == exact, "another number of multipliers");
    CHECK(op->biased_zero_point_size == (op->biased ? channels : 0), "another number of zero points");
    CHECK(!(op->biased && op->exact), "sums that are biased and exact");
    const char *reason = NULL;
    for (int64_t c = 0; c < channels && !reason; c++) reason = check_channel(op, c);
    if (reason) return reason;
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    CHECK_CLAMP(op);
    return NULL;
}

const char *ek_depthwise_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_depthwise *op = op_;
    CHECK(ek_is_size(op->planes) && (op->stride == 1 || op->stride == 2), "impossible sizes");
    CHECK(ek_is_size(op->window_height) && ek_is_size(op->window_width), "an impossible window");
    CHECK(0 < op->sets && op->sets <= MAX_TAPS, "an impossible number of sets");
    int64_t taps = (int64_t)op->window_height * op->window_width;
    CHECK(taps <= MAX_TAPS / op->sets, "an impossible window");
    taps *= op->sets;
    CHECK(op->weights_size == op->planes * taps * EK_QUAD, "another number of weights");
    CHECK_PICTURE(op, op->planes);
    int64_t rows = (int64_t)(op->height - 1) * op->stride + op->window_height;
    int64_t columns = (int64_t)(op->width - 1) * op->stride + op->window_width;
    CHECK(rows < EK_LIMIT && columns < EK_LIMIT && ek_is_size(op->input_pitch), "impossible sizes");
    CHECK(ek_is_size(op->input_period), "impossible sizes");
    int64_t pixels = ((op->images - 1) * (int64_t)op->input_period + rows - 1) * op->input_pitch + columns;
    CHECK_READ(op->input, op->input_stride, op->planes, pixels);
    *units = op->planes;
    return check_requantisation(op);
}
