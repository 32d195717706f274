/* Convolutions of planar input, for conv_walk.h: 4 vectors of bytes are interleaved to quads of 4 vectors of pixels,
   lane by lane. So in the sums the groups of 4 pixels stand in another order, until they are quads to be stored. */

/* An entry, for n vectors of 4 * PIXELS bytes */
INLINE void add_planar(vector *sums, const int n, const uint8_t *in, const int32_t *entry) {
    const vector word = every(entry[EK_QUAD]);
    EACH(v, n) {
        const vector a = load(in + entry[0] + v * BYTES), b = load(in + entry[1] + v * BYTES);
        const vector c = load(in + entry[2] + v * BYTES), d = load(in + entry[3] + v * BYTES);
        const vector ab_low = interleave_low(a, b), ab_high = interleave_high(a, b);
        const vector cd_low = interleave_low(c, d), cd_high = interleave_high(c, d);
        vector *own = sums + EK_QUAD * v;
        own[0] = dot(own[0], interleave_pairs_low(ab_low, cd_low), word);
        own[1] = dot(own[1], interleave_pairs_high(ab_low, cd_low), word);
        own[2] = dot(own[2], interleave_pairs_low(ab_high, cd_high), word);
        own[3] = dot(own[3], interleave_pairs_high(ab_high, cd_high), word);
    }
}

/* Channels c..c+3, whose n sums each follow each other in memory */
INLINE void finish_planar(const spot *at, int64_t c, const vector *sums, const int n, const int biased, const int exact,
                          const int residual) {
    const ek_conv conv = *at->conv;
    const rounding all = rounding_of(&conv);
    const factors own = factors_of(&all, c, biased);
    const addition add = addition_of(&conv);
    const uint8_t *other = at->other + c / EK_QUAD * conv.residual_stride;
    uint8_t *out = at->out + c / EK_QUAD * conv.output_stride;
    const int vectors = at->vectors;
    LOOP for (int v = 0; v < vectors; v += EK_QUAD) {
        vector y[EK_QUAD];
        EACH(i, EK_QUAD) {
            const vector *s = sums + v + i;
            y[i] = exact ? quads_exact(&conv, c, &all, s, n) : quads_fast(&all, &own, s, n, biased);
        }
        transpose_lanes(y);
        EACH(i, EK_QUAD) if (v + i < vectors) {
            const int64_t place = (v + i) * BYTES;
            store(out + place, residual ? add_residual(&add, y[i], load(other + place)) : y[i]);
        }
    }
    restore_margin(at, out);
}

APART void finish_planar_biased(const spot *at, int64_t c, const vector *sums, const int n) {
    finish_planar(at, c, sums, n, 1, 0, 0);
}

APART void finish_planar_any(const spot *at, int64_t c, const vector *sums, const int n) {
    const ek_conv *conv = at->conv;
    if (conv->exact && conv->has_residual)
        finish_planar(at, c, sums, n, 0, 1, 1);
    else if (conv->exact)
        finish_planar(at, c, sums, n, 0, 1, 0);
    else if (!conv->has_residual)
        finish_planar(at, c, sums, n, 0, 0, 0);
    else if (conv->biased)
        finish_planar(at, c, sums, n, 1, 0, 1);
    else
        finish_planar(at, c, sums, n, 0, 0, 1);
}

INLINE void planar(const spot *at, int64_t begin, int64_t end, const int n) {
    const lists all = lists_of(at);
    const int32_t *entry = all.entries + (int64_t)all.starts[begin] * (EK_QUAD + 1);
    vector quad[EK_QUAD * EK_QUAD * MOST_PLANAR];
    LOOP for (int64_t c = begin; c < end; c++) {
        const int32_t *next = all.entries + (int64_t)all.starts[c + 1] * (EK_QUAD + 1);
        vector sums[EK_QUAD * MOST_PLANAR], *own = quad + c % EK_QUAD * EK_QUAD * n;
        start(sums, EK_QUAD * n, all.bias[c]);
        LOOP for (; entry != next; entry += EK_QUAD + 1) add_planar(sums, n, all.in, entry);
        EACH(v, EK_QUAD * n) own[v] = sums[v];
        if (c % EK_QUAD != EK_QUAD - 1) continue;
        if (all.ending == PLAIN)
            finish_planar_biased(at, c - c % EK_QUAD, quad, EK_QUAD * n);
        else
            finish_planar_any(at, c - c % EK_QUAD, quad, EK_QUAD * n);
    }
}
