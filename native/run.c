/* Executes a plan: the steps in order, over one arena. */

#include <math.h>

#include "ek.h"

void ek_quantize_f32_s8__scalar(int64_t count, float scale, int32_t zero_point, const float *in, int8_t *out) {
    for (int64_t i = 0; i < count; i++) {
        float y = roundf(in[i] / scale) + (float)zero_point;
        out[i] = (int8_t)(y < -128.0f ? -128.0f : y > 127.0f ? 127.0f : y);
    }
}

void ek_dequantize_s8_f32__scalar(int64_t count, float scale, int32_t zero_point, const int8_t *in, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = scale * (float)(in[i] - zero_point);
}

void ek_run(const ek_kernels *kernels, const ek_step *steps, int64_t count, uint8_t *arena) {
    for (const ek_step *s = steps; s < steps + count; s++) {
        const uint8_t *in = arena + s->input;
        uint8_t *out = arena + s->output;
        switch (s->kind) {
        case EK_FC_S8:
            kernels->fc_s8(&s->fc, (const int8_t *)in, (int8_t *)out);
            break;
        case EK_QUANTIZE_F32_S8:
            ek_quantize_f32_s8__scalar(s->count, s->scale, s->zero_point, (const float *)in, (int8_t *)out);
            break;
        case EK_DEQUANTIZE_S8_F32:
            ek_dequantize_s8_f32__scalar(s->count, s->scale, s->zero_point, (const int8_t *)in, (float *)out);
            break;
        }
    }
}
