/* How ARM walks depthwise convolutions on planes. A level includes this file once, after depthwise_finish_arm.h and
   after it has said how windows of 3 by 3 are done, `plain` being a constant:

     filter, filter_of(plane)               the weights of a plane
     rows_s1(plane, filter, in, out, plain) two rows of outputs at stride 1
     row_s2(plane, filter, in, out, plain)  one row at stride 2 */

/* A vector may reach beyond the end of its row by 3 pixels: into the margin or what is written later, which is why rows
   go from top to bottom and two rows at once from right to left; after the last row there is margin or slack. */

/* A row of any window */
APART void row_any(const plane *p, const int8_t *in, int8_t *out) {
    LOOP for (int64_t x = 0; x < p->width; x += PIXELS) {
        int32x4_t sums[PIXELS];
        sum_any(p, in + EK_QUAD * x * p->stride, sums);
        vst1q_s8(out + EK_QUAD * x, quads_of(&p->to, sums));
    }
}

APART void image_any(const plane *p, const int8_t *in, int8_t *out) {
    for (int64_t y = 0; y < p->height; y++) {
        row_any(p, in + y * p->stride * p->in_row, out + y * p->out_row);
        end_row(p, out + y * p->out_row);
    }
}

/* Rows of an image, in pairs at stride 1: the last pair may have a row in common with the one before. */
INLINE void image_s1(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    LOOP for (int64_t y = 0; y < p->height; y += 2) {
        if (y > p->height - 2) y = p->height - 2;
        rows_s1(p, f, in + y * p->in_row, out + y * p->out_row, plain);
        end_row(p, out + y * p->out_row);
        end_row(p, out + (y + 1) * p->out_row);
    }
}

INLINE void image_s2(const plane *p, const filter *f, const int8_t *in, int8_t *out, const int plain) {
    LOOP for (int64_t y = 0; y < p->height; y++) {
        row_s2(p, f, in + 2 * y * p->in_row, out + y * p->out_row, plain);
        end_row(p, out + y * p->out_row);
    }
}

#define DEFINE_IMAGE(kind, name, plain)                                                    \
    APART void kind##_##name(const plane *at, const int8_t *in, int8_t *out) {             \
        const plane p = *at;                                                               \
        const filter f = filter_of(&p);                                                    \
        kind(&p, &f, in, out, plain);                                                      \
    }
DEFINE_IMAGE(image_s1, plain, 1)
DEFINE_IMAGE(image_s1, other, 0)
DEFINE_IMAGE(image_s2, plain, 1)
DEFINE_IMAGE(image_s2, other, 0)

typedef void image_fn(const plane *p, const int8_t *in, int8_t *out);

INLINE image_fn *image_of(const ek_depthwise *op, const plane *p) {
    const int is_3x3 = op->window_height == 3 && op->window_width == 3 && op->sets == 1;
    if (!is_3x3 || !filter_suits(p) || (op->stride == 1 && op->height < 2)) return image_any;
    const int plain = op->biased && op->fits16;
    if (op->stride == 2) return plain ? image_s2_plain : image_s2_other;
    return plain ? image_s1_plain : image_s1_other;
}

APART void walk_plane(const ek_depthwise *op, uint8_t *arena, int64_t q) {
    const plane p = plane_of(op, q);
    image_fn *image = image_of(op, &p);
    const int8_t *in = (const int8_t *)arena + op->input + q * op->input_stride;
    uint8_t *out = arena + op->output + q * op->output_stride;
    const ek_margins m = EK_MARGINS(op, op->zero_point);
    for (int64_t i = 0; i < op->images; i++) {
        const int64_t first = i * m.period * m.pitch, end = first + m.height * m.pitch;
        image(&p, in + i * op->input_period * p.in_row, (int8_t *)out + EK_QUAD * first);
        if (end < m.pixels) ek_fill_pixels(out, end, first + m.period * m.pitch, m.word);
    }
    ek_fill_pixels(out, -m.before, 0, m.word);
    ek_fill_pixels(out, m.pixels, m.pixels + m.after, m.word);
}

#define DEPTHWISE(level)                                                                            \
    TARGET void ek_depthwise__##level(const void *op, uint8_t *arena, int64_t begin, int64_t end) { \
        for (int64_t q = begin; q < end; q++) walk_plane(op, arena, q);                             \
    }
