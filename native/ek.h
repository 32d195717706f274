/* The C interface of edgekit's kernels. This header is their manual; native/ops.h lists the operations.

   Who calls: `_native.pyx`. It fills the struct of an operation by the names of its fields and asks the family's
   check, once, whether everything that a kernel will touch lies inside the arena and the arrays. A kernel may then
   trust what it is given: it returns nothing, keeps no state, allocates nothing and may run in any number of
   threads at once, each with units of its own.

   Names: ek_<family>__<isa>. The part before the double underscore says what is computed, the part behind it how.
   The scalar one is the definition; every other level gives the same bytes.

   STORED BYTES. Quantised tensors are int8. Kernels on planes keep them as `ek_byte`: the int8 value plus EK_FLIP,
   which is 128 on x86 (its dot products want one unsigned side) and 0 elsewhere. Zero points, clamps and look-up
   tables of planes are given in stored values. Plain tensors hold int8 as TFLite does.

   PLANES. A tensor "in planes" holds its channels in quads: quad q, pixel p, channel c % 4 of q stands at
   base + q * stride + 4 * p + c % 4. A pixel's number is p = row * pitch + column. Rows are `pitch` pixels apart,
   `width` of which are the picture and the rest margin: the right margin of a row serves as the left margin of the
   next. The images of a batch stand below each other, `period` rows apart, `height` of which are picture. All that
   is no picture, `before` pixels before pixel 0 and `after` pixels after the last included, holds the zero point,
   so that a window may reach there; who writes the picture restores it. Behind it lie EK_SLACK bytes that may be
   read and overwritten. */

#ifndef EK_H
#define EK_H

#include <stdint.h>

/* ISA levels, worst first. A level is usable if its bit (1 << level) is in ek_cpu_levels(). */
typedef enum ek_level {
    EK_SCALAR,
    EK_AVX2,
    EK_AVXVNNI,
    EK_AVX512VNNI,
    EK_NEON,    /* ARMv8.0: every 64-bit ARM */
    EK_NEONDOT, /* ARMv8.2 with SDOT */
    EK_LEVELS,
    EK_AVX512VBMI = EK_LEVELS /* no level by itself: its kernels go before EK_AVX512VNNI's where the CPU has it */
} ek_level;

#if defined(__x86_64__)
typedef uint8_t ek_byte;
enum { EK_FLIP = 128 };
#else
typedef int8_t ek_byte;
enum { EK_FLIP = 0 };
#endif

enum {
    EK_ALIGNMENT = 64, /* of the arena and of tensors in it; arrays are as aligned as their numbers ask for */
    EK_SLACK = 64,     /* bytes behind each plane that may be read and overwritten */
    EK_MAX_STEP = 64,  /* phases along an axis that a picture is taken apart into, strides of convolutions therefore */
    EK_QUAD = 4,
    EK_GATHERED = 32768, /* bytes that a tile of a convolution may gather */
    EK_BIASED = 0x4B400000, /* the bits of the float 12582912, which is 1.5 * 2^23: see EK_CONV in ops_conv.h */
    EK_TILE = 16, /* outputs in a tile of packed FULLY_CONNECTED weights */
    EK_RUN = 4096, /* numbers in a unit of an elementwise operation on plain tensors */
    EK_PICKS = 64,
    EK_MAX_RANK = 8,
    EK_MAX_DEPTH = 32768 /* inputs of a FULLY_CONNECTED layer: keeps its sums within 32 bits */
};

/* A kernel does units [begin, end) of the operation. How many units there are, and what one is, its family's check
   says. Units of one operation may run at the same time. */
typedef void ek_kernel_fn(const void *op, uint8_t *arena, int64_t begin, int64_t end);

/* Whether the operation may run in an arena of that many bytes: NULL, and its number of units; or what is wrong. */
typedef const char *ek_check_fn(const void *op, int64_t arena_bytes, int64_t *units);

/* A field of an operation's struct, by which Python fills it. `type` is the letter of Python's struct module. An
   array is a pointer followed by its number of elements, an int64_t. */
typedef struct ek_field {
    const char *name;
    int64_t place;
    char type;
    char is_array;
} ek_field;

typedef struct ek_family {
    const char *name;
    int64_t size; /* of the struct */
    const ek_field *fields;
    int field_count;
    ek_check_fn *check;
} ek_family;

/* The families have the numbers 0..ek_family_count() - 1. */
int ek_family_count(void);
ek_family ek_get_family(int number);

/* The one list of kernels of this architecture: dispatch, tests and benchmarks iterate over it. */
typedef struct ek_kernel {
    int family;
    ek_level level;
    ek_kernel_fn *run;
} ek_kernel;

extern const ek_kernel ek_kernel_list[];
extern const int ek_kernel_count;

/* "scalar", "avx2", ... */
const char *ek_level_name(ek_level level);

/* Bit set of the levels that this architecture has at all, and of those that this CPU can run. */
uint32_t ek_known_levels(void);
uint32_t ek_cpu_levels(void);

/* The best kernel of the family among `levels`, a subset of ek_cpu_levels() that has EK_SCALAR. */
ek_kernel_fn *ek_best_kernel(int family, uint32_t levels);

/* A network: steps over one arena, run in order. `arena` is aligned. The caller's thread takes part; up to
   `threads` - 1 others of the process's pool help with the steps that are `shared`, as many as are idle: several
   networks may run at once in threads of their own and will not get in each other's way. */
typedef struct ek_step {
    const void *op;
    ek_kernel_fn *run;
    int64_t units;
    int32_t shared;
} ek_step;

enum { EK_MAX_THREADS = 64 };

void ek_run(const ek_step *steps, int64_t count, uint8_t *arena, int threads);

/* The pool starts at most `limit` threads from now on: one less than the CPUs that the process may use. */
void ek_limit_helpers(int limit);

#endif
