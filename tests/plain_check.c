/* Runs operations that are written in a file, hostile ones among them, on an arena of exactly the size they were checked
   for and on arrays of exactly their size: built with the address and undefined-behaviour sanitizers. Prints how many
   were run and how many refused.

   The file has for each operation the number of its family, the bytes of its arena, and its fields in order: a number
   in 8 bytes, as an int64_t or a double, or an array as its size in bytes and the bytes. Whole numbers are int64_t. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ek.h"

static void *allocate(size_t size) {
    void *p = malloc(size ? size : 1);
    if (!p) abort();
    return p;
}

static int read_bytes(void *to, size_t size, FILE *file) {
    return fread(to, 1, size, file) == size;
}

static int64_t read_whole(FILE *file) {
    int64_t value = 0;
    if (!read_bytes(&value, sizeof value, file)) abort();
    return value;
}

static int item_size(char type) {
    return strchr("bB", type) ? 1 : strchr("hH", type) ? 2 : strchr("iIf", type) ? 4 : 8;
}

static void read_field(const ek_field *field, uint8_t *op, FILE *file) {
    if (field->is_array) {
        int64_t size = read_whole(file);
        void *array = allocate((size_t)size);
        if (!read_bytes(array, (size_t)size, file)) abort();
        memcpy(op + field->place, &array, sizeof array);
        int64_t count = size / item_size(field->type);
        memcpy(op + field->place + sizeof array, &count, sizeof count);
    } else if (field->type == 'f' || field->type == 'd') {
        double value = 0;
        if (!read_bytes(&value, sizeof value, file)) abort();
        float narrow = (float)value;
        memcpy(op + field->place, field->type == 'f' ? (void *)&narrow : (void *)&value, (size_t)item_size(field->type));
    } else {
        int64_t value = read_whole(file);
        memcpy(op + field->place, &value, (size_t)item_size(field->type));
    }
}

static void free_arrays(const ek_family *family, uint8_t *op) {
    for (int i = 0; i < family->field_count; i++)
        if (family->fields[i].is_array) {
            void *array;
            memcpy(&array, op + family->fields[i].place, sizeof array);
            free(array);
        }
}

/* Whether the check let the operation pass; then it has run, at every level, in two parts. */
static int run(int number, int64_t arena_bytes, const ek_family *family, uint8_t *op) {
    int64_t units = 0;
    if (family->check(op, arena_bytes, &units)) return 0;
    uint8_t *arena = aligned_alloc(EK_ALIGNMENT, (size_t)arena_bytes);
    for (int i = 0; i < ek_kernel_count; i++) {
        if (ek_kernel_list[i].family != number || !(ek_cpu_levels() >> ek_kernel_list[i].level & 1)) continue;
        memset(arena, 1, (size_t)arena_bytes);
        ek_kernel_list[i].run(op, arena, 0, units / 2);
        ek_kernel_list[i].run(op, arena, units / 2, units);
    }
    free(arena);
    return 1;
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 1;
    int passed = 0, refused = 0;
    for (int64_t number; read_bytes(&number, sizeof number, file);) {
        ek_family family = ek_get_family((int)number);
        int64_t arena_bytes = read_whole(file);
        uint8_t *op = calloc(1, (size_t)family.size);
        for (int i = 0; i < family.field_count; i++) read_field(&family.fields[i], op, file);
        if (run((int)number, arena_bytes, &family, op))
            passed++;
        else
            refused++;
        free_arrays(&family, op);
        free(op);
    }
    fclose(file);
    printf("%d %d\n", passed, refused);
    return 0;
}
