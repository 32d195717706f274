/* The one list of families and the one list of kernels of this architecture. */

#include <stddef.h>

#include "ops.h"

#define LETTER(type)                                                                                         \
    _Generic((type){0}, int8_t: 'b', uint8_t: 'B', int16_t: 'h', uint16_t: 'H', int32_t: 'i', uint32_t: 'I', \
             int64_t: 'q', float: 'f', double: 'd')
#define NUMBER_FIELD(type, name) {#name, offsetof(self, name), LETTER(type), 0},
#define ARRAY_FIELD(type, name) {#name, offsetof(self, name), LETTER(type), 1},
#define FAMILY(name, FIELDS)                                                          \
    case EK_FAMILY_##name: {                                                          \
        typedef ek_##name self;                                                       \
        static const ek_field fields[] = {FIELDS(NUMBER_FIELD, ARRAY_FIELD)};         \
        return (ek_family){#name, sizeof(self), fields, sizeof fields / sizeof *fields, ek_##name##_check}; \
    }

ek_family ek_get_family(int number) {
    switch (number) { EK_FAMILIES(FAMILY) }
    return (ek_family){0};
}

int ek_family_count(void) {
    return EK_FAMILY_COUNT;
}

#define SCALAR(name, FIELDS) {EK_FAMILY_##name, EK_SCALAR, ek_##name##__scalar},
#define KERNEL(name, LEVEL, level) {EK_FAMILY_##name, EK_##LEVEL, ek_##name##__##level},
#define DECLARE(name, LEVEL, level) ek_kernel_fn ek_##name##__##level;

#if defined(__x86_64__)

#define KERNELS(K)                \
    K(fc, AVX2, avx2)             \
    K(fc, AVXVNNI, avxvnni)       \
    K(fc, AVX512VNNI, avx512vnni) \
    K(conv, AVX2, avx2)           \
    K(conv, AVXVNNI, avxvnni)     \
    K(conv, AVX512VNNI, avx512vnni) \
    K(spread_planes, AVX2, avx2)    \
    K(depthwise, AVX2, avx2)      \
    K(depthwise, AVXVNNI, avxvnni) \
    K(depthwise, AVX512VNNI, avx512vnni) \
    K(pack_planes, AVX2, avx2)    \
    K(unpack_planes, AVX2, avx2)  \
    K(split_phases, AVX2, avx2)   \
    K(join_phases, AVX2, avx2)    \
    K(add_planes, AVX2, avx2)     \
    K(mul_planes, AVX2, avx2)     \
    K(lut_planes, AVX2, avx2)     \
    K(lut_planes, AVX512VNNI, avx512vnni) \
    K(lut_planes, AVX512VBMI, avx512vbmi) \
    K(pool_planes, AVX2, avx2)    \
    K(mean_planes, AVX2, avx2)    \
    K(resize_planes, AVX2, avx2)

#elif defined(__aarch64__)

#define KERNELS(K)                 \
    K(fc, NEON, neon)              \
    K(fc, NEONDOT, neondot)        \
    K(conv, NEON, neon)            \
    K(conv, NEONDOT, neondot)      \
    K(depthwise, NEON, neon)       \
    K(depthwise, NEONDOT, neondot) \
    K(add_planes, NEON, neon)      \
    K(mul_planes, NEON, neon)      \
    K(lut_planes, NEON, neon)      \
    K(pool_planes, NEON, neon)

#else
#define KERNELS(K)
#endif

KERNELS(DECLARE)

const ek_kernel ek_kernel_list[] = {EK_FAMILIES(SCALAR) KERNELS(KERNEL)};
const int ek_kernel_count = sizeof ek_kernel_list / sizeof ek_kernel_list[0];

uint32_t ek_known_levels(void) {
    uint32_t levels = 0;
    for (int i = 0; i < ek_kernel_count; i++) levels |= 1u << ek_kernel_list[i].level;
    return levels;
}

ek_kernel_fn *ek_best_kernel(int family, uint32_t levels) {
    ek_kernel best = {0};
    if (levels & 1u << EK_AVX512VNNI) levels |= ek_cpu_levels() & 1u << EK_AVX512VBMI;
    for (int i = 0; i < ek_kernel_count; i++) {
        ek_kernel k = ek_kernel_list[i];
        if (k.family == family && levels >> k.level & 1 && (!best.run || k.level > best.level)) best = k;
    }
    return best.run;
}
