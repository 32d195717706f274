/* What a unit of a convolution on planes is: see EK_CONV in ops_conv.h. */

#ifndef EK_CONV_H
#define EK_CONV_H

#include "ops.h"

/* Vectors [first, last) of pixels, channels [begin, end) */
typedef struct ek_conv_unit {
    int64_t first, last, begin, end;
} ek_conv_unit;

static inline int64_t ek_conv_vectors(const ek_conv *conv, int64_t pixels) {
    return (pixels + conv->vector - 1) / conv->vector;
}

static inline int64_t ek_conv_tiles(const ek_conv *conv, int64_t pixels) {
    return (ek_conv_vectors(conv, pixels) + conv->tile - 1) / conv->tile;
}

static inline int64_t ek_conv_units(const ek_conv *conv, int64_t pixels) {
    return ek_conv_tiles(conv, pixels) * ((conv->channels + conv->block - 1) / conv->block);
}

static inline ek_conv_unit ek_conv_get_unit(const ek_conv *conv, int64_t pixels, int64_t number) {
    int64_t vectors = ek_conv_vectors(conv, pixels), tiles = ek_conv_tiles(conv, pixels), tile = number % tiles;
    int64_t begin = number / tiles * conv->block, end = begin + conv->block;
    return (ek_conv_unit){tile * vectors / tiles, (tile + 1) * vectors / tiles, begin,
                          end < conv->channels ? end : conv->channels};
}

static inline int ek_conv_has_offsets(const ek_conv *conv) {
    return conv->group >= 16;
}

/* Numbers in an entry */
static inline int64_t ek_conv_entry_size(const ek_conv *conv) {
    return conv->planar ? EK_QUAD + 1 : ek_conv_has_offsets(conv) ? conv->group : 1 + conv->group;
}

/* Bytes around a tile's own that it gathers of a plane */
static inline int64_t ek_conv_gathered_around(const ek_conv *conv) {
    return conv->gathered - (int64_t)conv->tile * conv->vector * EK_QUAD;
}

/* How far from the input's first pixel an entry's byte for output pixel 0 is */
static inline int64_t ek_conv_distance(const ek_conv *conv, int64_t offset) {
    if (!conv->gathered) return offset;
    int64_t at = offset + conv->gathered_before;
    return at / conv->gathered * conv->input_stride + at % conv->gathered - conv->gathered_before;
}

#endif
