/* Adding an entry by dot(), for conv_walk.h on levels whose dot products cannot overflow. */

/* One entry: the quads of all pixels are loaded once. */
INLINE void add_run(vector *sums, const int rows, const int n, const uint8_t *in, const int32_t *entry, const int run) {
    const uint8_t *from = in + entry[0];
    vector x[MOST];
    (void)run; /* always 1 */
    EACH(v, n) x[v] = load(from + v * BYTES);
    EACH(r, rows) {
        const vector word = every(entry[1 + r]);
        EACH(v, n) sums[r * n + v] = dot(sums[r * n + v], x[v], word);
    }
}
