/* What the checks of the kernels share: random operations run at every level of this CPU, on memory of exactly the
   size that they need. */

#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include <stdint.h>
#include <stddef.h>

/* A random number, 0 <= n < limit */
uint32_t below(uint32_t limit);

/* Memory of exactly that size, aligned as an arena; `filled` with random bytes, or with zeros */
void *exactly(size_t size, int filled);

/* Bytes of an arena that any level may write as it likes: `count` times `size` bytes, `stride` apart */
typedef struct loose {
    int64_t place, stride, count, size;
} loose;

/* Runs an operation of that family at every level over copies of one random arena; ends the program where a level gives
   other bytes than the scalar one. How many levels agreed. */
int compare(int family, const void *op, int64_t arena_bytes, loose any);

int check_fc(void);
int check_conv(void);

#endif
