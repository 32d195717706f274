/* How a fully connected layer is walked, for every ISA level with vectors. A level includes this file once,
   after it has said in its own words

     TARGET                 the function attribute that allows its instructions
     ROWS, TILES            how many input rows by tiles of 16 outputs its registers hold at once
     tile, quad             16 running sums; one input quad, as its multiplication wants it
     tile_start(fc, c)      the sums of outputs c..c+15 before the first product
     quad_load(p)           4 input bytes at p, of any alignment
     tile_dot(t, w, q, safe)  t plus 64 packed weights times the quad; `safe` if a weight may be -128
     quads_load(p, o)       16 input quads, as many bytes behind p as o says
     tile_dot_each(t, w, q, safe)  t plus 64 weights times those
     tile_store(fc, c, t, out)  requantise and write 16 bytes

   Loops over ROWS and TILES have constant bounds once inlined and are unrolled, so the sums stay in registers. */

#include <string.h>

#define INLINE static inline __attribute__((always_inline)) TARGET
#define EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

INLINE void store(const ek_fc *fc, int64_t col, tile sums, int8_t *out) {
    int8_t spare[EK_TILE];
    if (fc->cols - col >= EK_TILE) {
        tile_store(fc, col, sums, out + col);
        return;
    }
    tile_store(fc, col, sums, spare);
    memcpy(out + col, spare, (size_t)(fc->cols - col));
}

/* The last 1 to 3 inputs of a row, filled up with zeros */
INLINE quad rest_load(const int8_t *in, int64_t rest) {
    int8_t last[EK_QUAD] = {in[0], rest > 1 ? in[1] : 0, rest > 2 ? in[2] : 0, 0};
    return quad_load(last);
}

/* `rows` rows by `tiles` tiles from column `col` on */
INLINE void block(const ek_fc *fc, int64_t col, const int rows, const int tiles, const int safe,
                  const int8_t *in, int8_t *out) {
    const int64_t whole = fc->depth / EK_QUAD, rest = fc->depth % EK_QUAD;
    const int64_t stride = (whole + (rest != 0)) * EK_TILE * EK_QUAD;
    const int8_t *w = fc->weights + col / EK_TILE * stride;
    tile sums[ROWS][TILES];
    EACH(r, rows) EACH(t, tiles) sums[r][t] = tile_start(fc, col + t * EK_TILE);
    for (int64_t q = 0; q < whole; q++, w += EK_TILE * EK_QUAD)
        EACH(r, rows) {
            quad x = quad_load(in + r * fc->depth + q * EK_QUAD);
            EACH(t, tiles) sums[r][t] = tile_dot(sums[r][t], w + t * stride, x, safe);
        }
    if (rest)
        EACH(r, rows) {
            quad x = rest_load(in + r * fc->depth + whole * EK_QUAD, rest);
            EACH(t, tiles) sums[r][t] = tile_dot(sums[r][t], w + t * stride, x, safe);
        }
    EACH(r, rows) EACH(t, tiles) store(fc, col + t * EK_TILE, sums[r][t], out + r * fc->cols);
}

/* All columns of tiles [begin, end) for `rows` rows */
INLINE void columns(const ek_fc *fc, const int rows, const int safe, int64_t begin, int64_t end, const int8_t *in,
                    int8_t *out) {
    int64_t tile = begin;
    for (; tile + TILES <= end; tile += TILES) block(fc, tile * EK_TILE, rows, TILES, safe, in, out);
    for (; tile < end; tile++) block(fc, tile * EK_TILE, rows, 1, safe, in, out);
}

/* Tiles [begin, end) of a layer that has few quads, for one row */
INLINE void sparse_tiles(const ek_fc *fc, const int safe, int64_t begin, int64_t end, const int8_t *in, int8_t *out) {
    for (int64_t t = begin; t < end; t++) {
        tile sums = tile_start(fc, t * EK_TILE);
        for (int64_t s = fc->starts[t]; s < fc->starts[t + 1]; s++)
            sums = tile_dot_each(sums, fc->weights + s * EK_TILE * EK_QUAD, quads_load(in, fc->offsets + s * EK_TILE), safe);
        store(fc, t * EK_TILE, sums, out);
    }
}

INLINE void walk(const ek_fc *fc, const int safe, uint8_t *arena, int64_t begin, int64_t end) {
    const int8_t *in = (const int8_t *)arena + fc->input;
    int8_t *out = (int8_t *)arena + fc->output;
    int64_t row = 0;
    if (fc->offsets_size) {
        for (; row < fc->rows; row++) sparse_tiles(fc, safe, begin, end, in + row * fc->depth, out + row * fc->cols);
        return;
    }
    for (; row + ROWS <= fc->rows; row += ROWS)
        columns(fc, ROWS, safe, begin, end, in + row * fc->depth, out + row * fc->cols);
    for (; row < fc->rows; row++) columns(fc, 1, safe, begin, end, in + row * fc->depth, out + row * fc->cols);
}
