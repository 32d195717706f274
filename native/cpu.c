/* Which ISA levels this CPU has. */

#include "ek.h"

#define BIT(level) (1u << (level))

#if defined(__x86_64__)

#include <cpuid.h>

enum { OSXSAVE = 1 << 27, FMA = 1 << 12, AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512BW = 1 << 30, AVX512DQ = 1 << 17, AVXVNNI = 1 << 4 };
static const uint32_t AVX512VL = 1u << 31, AVX512VNNI = 1 << 11, AVX512VBMI = 1 << 1;
static const uint32_t YMM_STATE = 0x06, ZMM_STATE = 0xE6; /* what the system saves at a task switch */

static uint32_t saved_state(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static uint32_t detect(void) {
    uint32_t a, b, c, d, levels = BIT(EK_SCALAR);
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || !(c & FMA)) return levels;
    uint32_t state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2) || (state & YMM_STATE) != YMM_STATE)
        return levels;
    levels |= BIT(EK_AVX2);
    uint32_t wanted = AVX512F | AVX512BW | AVX512DQ | AVX512VL;
    if ((b & wanted) == wanted && (c & AVX512VNNI) && (state & ZMM_STATE) == ZMM_STATE)
        levels |= BIT(EK_AVX512VNNI) | (c & AVX512VBMI ? BIT(EK_AVX512VBMI) : 0);
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVXVNNI)) levels |= BIT(EK_AVXVNNI);
    return levels;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

static const unsigned long ASIMDDP = 1ul << 20; /* SDOT and UDOT */

static uint32_t detect(void) {
    uint32_t levels = BIT(EK_SCALAR) | BIT(EK_NEON);
    return getauxval(AT_HWCAP) & ASIMDDP ? levels | BIT(EK_NEONDOT) : levels;
}

#else

static uint32_t detect(void) {
    return BIT(EK_SCALAR);
}

#endif

/* Asked once: under a hypervisor each CPUID instruction costs microseconds. */
uint32_t ek_cpu_levels(void) {
    static uint32_t known;
    uint32_t levels = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!levels) {
        levels = detect();
        __atomic_store_n(&known, levels, __ATOMIC_RELAXED);
    }
    return levels;
}

const char *ek_level_name(ek_level level) {
    static const char *const names[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neondot", "avx512vbmi"};
    return names[level];
}
