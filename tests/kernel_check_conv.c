/* Random convolutions on planes */

#include <stdlib.h>

#include "kernel_check.h"
#include "ops.h"

static int32_t any_stored(void) {
    return EK_FLIP - 128 + (int32_t)below(256);
}

/* 4 weights, pairs of which AVX2 can add: small ones, or large ones beside zeros */
static int32_t word(void) {
    uint32_t bytes = 0, small = below(2);
    for (int i = 0; i < EK_QUAD; i++)
        bytes |= (uint32_t)(uint8_t)(small ? below(128) - 64 : i % 2 ? 0 : below(256)) << (8 * i);
    return (int32_t)bytes;
}

/* Entries of any 4 bytes of `planes` planes */
static void make_planar(ek_conv *conv, int planes, int64_t margin, int64_t pixels) {
    int32_t most = (int32_t)below(20), *starts = exactly((size_t)(conv->channels + 1) * 4, 0);
    for (int32_t c = 0; c < conv->channels; c++) starts[c + 1] = starts[c] + (int32_t)below((uint32_t)most + 1);
    int64_t count = starts[conv->channels] * 5, reach = planes * conv->input_stride - pixels - EK_SLACK + 1;
    int32_t *entries = exactly((size_t)count * 4, 0);
    for (int64_t i = 0; i < count; i++)
        entries[i] = i % 5 == 4 ? word() : (int32_t)(below((uint32_t)reach) - EK_QUAD * margin);
    conv->planar = conv->group = 1, conv->vector *= EK_QUAD;
    conv->starts = starts, conv->starts_size = conv->channels + 1, conv->entries = entries, conv->entries_size = count;
}

/* Entries for each group, at random places of `planes` planes, up to `margin` pixels away */
static void make_entries(ek_conv *conv, int planes, int64_t margin) {
    int32_t groups = conv->channels / conv->group, most = (int32_t)below(60), *starts = exactly((size_t)(groups + 1) * 4, 0);
    for (int32_t g = 0; g < groups; g++) starts[g + 1] = starts[g] + (int32_t)below((uint32_t)most + 1);
    int64_t apart = conv->group >= 16, size = conv->group + !apart, count = starts[groups];
    int32_t *entries = exactly((size_t)(count * size) * 4, 0), *offsets = exactly((size_t)(apart * count) * 4, 0);
    for (int64_t i = 0; i < count * size; i++) entries[i] = word();
    for (int64_t i = 0; i < count; i++) {
        int64_t shift = (int64_t)below((uint32_t)(2 * margin + 1)) - margin;
        *(apart ? offsets + i : entries + i * size) =
            (int32_t)(below((uint32_t)planes) * conv->input_stride + EK_QUAD * shift);
    }
    conv->starts = starts, conv->starts_size = groups + 1;
    conv->entries = entries, conv->entries_size = count * size;
    conv->offsets = offsets, conv->offsets_size = apart * count;
}

/* `rounding` 0: fast, 1: biased, 2: exact */
static void make_rounding(ek_conv *conv, int rounding) {
    size_t n = (size_t)conv->channels;
    int32_t *bias = exactly(4 * n, 0), *multiplier = exactly(4 * n, 0), *shift = exactly(4 * n, 0);
    float *scale = exactly(4 * n, 0), *zero_point = exactly(4 * n, 0);
    conv->exact = rounding == 2, conv->biased = rounding == 1, conv->zero_point = any_stored();
    conv->low = below(2) ? EK_FLIP - 128 : EK_FLIP - 20, conv->high = below(2) ? EK_FLIP + 127 : EK_FLIP + 50;
    for (size_t c = 0; c < n; c++) {
        bias[c] = (int32_t)below(40000) - 20000 + conv->biased * EK_BIASED;
        scale[c] = (float)(below(1000) * 2e-5);
        zero_point[c] = (float)(conv->zero_point - 12582912.0 * scale[c]);
        multiplier[c] = (1 << 30) + (int32_t)below(1 << 30), shift[c] = (int32_t)below(11) - 9;
    }
    conv->bias = bias, conv->scale = scale, conv->multiplier = multiplier, conv->shift = shift;
    conv->biased_zero_point = zero_point, conv->bias_size = conv->scale_size = conv->channels;
    conv->multiplier_size = conv->shift_size = conv->exact ? conv->channels : 0;
    conv->biased_zero_point_size = conv->biased ? conv->channels : 0;
}

static void make_residual(ek_conv *conv, int64_t place) {
    conv->has_residual = (int32_t)below(2), conv->residual = place, conv->residual_stride = conv->output_stride;
    conv->residual_own = (int32_t)below(65536) - 32768, conv->residual_other = (int32_t)below(65536) - 32768;
    conv->residual_bias = (int32_t)below(1 << 21) - (1 << 20), conv->residual_shift = 10 + (int32_t)below(5);
    conv->residual_low = EK_FLIP - 100, conv->residual_high = EK_FLIP + 100, conv->residual_zero_point = any_stored();
}

static int check_one(int32_t vector) {
    static const int32_t groups[] = {1, 1, 4, 8, 16, 32};
    int32_t group = groups[below(6)], whole = group > 8 ? group : 8;
    int32_t right = (int32_t)below(3), below_ = (int32_t)below(2), planes = 1 + (int32_t)below(5);
    ek_conv conv = {.images = 1 + (int32_t)below(2), .height = 1 + (int32_t)below(8), .width = 1 + (int32_t)below(30),
                    .channels = whole * (1 + (int32_t)below(3)), .group = group, .vector = vector,
                    .tile = 1 + (int32_t)below(16), .block = whole * (1 + (int32_t)below(3))};
    conv.period = conv.height + below_, conv.input_pitch = conv.output_pitch = conv.width + right;
    int64_t pixels = ((int64_t)(conv.images - 1) * conv.period + conv.height) * conv.output_pitch;
    int64_t margin = right + below_ * conv.output_pitch, outputs = conv.channels / EK_QUAD;
    conv.before = conv.after = (int32_t)margin;
    conv.input_stride = conv.output_stride = EK_QUAD * (pixels + 2 * margin) + EK_SLACK;
    conv.input = EK_QUAD * margin; /* the planes of input, residual and output follow each other */
    conv.output = conv.input + (planes + outputs) * conv.input_stride;
    if (below(4))
        make_entries(&conv, planes, margin);
    else
        make_planar(&conv, planes, margin, pixels);
    make_rounding(&conv, (int)below(3));
    make_residual(&conv, conv.input + planes * conv.input_stride);
    int64_t slack = conv.output + EK_QUAD * (pixels + margin);
    int compared = compare(EK_FAMILY_conv, &conv, conv.output - conv.input + outputs * conv.output_stride,
                           (loose){slack, conv.output_stride, outputs, EK_SLACK});
    free((void *)conv.starts), free((void *)conv.entries), free((void *)conv.offsets), free((void *)conv.bias), free((void *)conv.scale);
    free((void *)conv.multiplier), free((void *)conv.shift), free((void *)conv.biased_zero_point);
    return compared;
}

int check_conv(void) {
    int compared = 0;
    for (int i = 0; i < 600; i++) compared += check_one(4 << i % 3);
    return compared;
}
