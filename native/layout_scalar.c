/* Between plain tensors and planes, and pixels from one place to another: definitions and checks. */

#include "check.h"
#include "margin.h"

static int64_t within(int64_t value, int64_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

/* Which of `count` places, from input column `from` on and `step` apart, lie in [0, columns) */
typedef struct span {
    int64_t first, last;
} span;

static span span_of(int64_t columns, int64_t from, int64_t step, int64_t count) {
    int64_t first = within((step - 1 - from) / step, count);
    int64_t last = within(columns > from ? (columns - from + step - 1) / step : 0, count);
    return (span){first, last < first ? first : last};
}

/* What makes a stored pixel of four bytes of a plain tensor: flipped, and zero points where there is no channel */
typedef struct pixels {
    uint32_t flip, kept, zero;
} pixels;

static uint32_t stored(pixels how, uint32_t word) {
    return ((word ^ how.flip) & how.kept) | (how.zero & ~how.kept);
}

static void put_word(uint8_t *out, uint32_t word) {
    memcpy(out, &word, sizeof word);
}

/* `count` pixels, `step` bytes apart, of `channels` bytes each; nothing behind the last one is read */
static void pack_pixels(pixels how, const uint8_t *in, int64_t step, int64_t channels, int64_t count, uint8_t *out) {
    int64_t bytes = (count - 1) * step + channels;
    int64_t whole = bytes < EK_QUAD ? 0 : within((bytes - EK_QUAD) / step + 1, count);
    for (int64_t x = 0; x < whole; x++) {
        uint32_t word;
        memcpy(&word, in + x * step, sizeof word);
        put_word(out + EK_QUAD * x, stored(how, word));
    }
    for (int64_t x = whole; x < count; x++) {
        uint32_t word = 0;
        memcpy(&word, in + x * step, (size_t)channels);
        put_word(out + EK_QUAD * x, stored(how, word));
    }
}

/* Row y of image i, of one plane of one phase; `quad` is its number among the quads of the tensor */
static void pack_row(const ek_pack_planes *op, const uint8_t *in, uint8_t *out, int64_t y, int64_t from, int64_t quad) {
    int64_t channels = op->channels - quad * EK_QUAD;
    channels = channels < EK_QUAD ? channels : EK_QUAD;
    pixels how = {(uint32_t)op->flip * 0x01010101u, channels < EK_QUAD ? (1u << (8 * channels)) - 1 : ~0u,
                  ek_margin_word(op->zero_point)};
    span inside = span_of(0 <= y && y < op->rows ? op->columns : 0, from, op->step_x, op->width);
    ek_fill_pixels(out, 0, inside.first, how.zero);
    ek_fill_pixels(out, inside.last, op->width, how.zero);
    if (inside.first == inside.last) return;
    const uint8_t *first = in + (y * op->columns + from + inside.first * op->step_x) * op->channels + quad * EK_QUAD;
    pack_pixels(how, first, (int64_t)op->step_x * op->channels, channels, inside.last - inside.first,
                out + EK_QUAD * inside.first);
}

/* The margins behind a row, and with them those beyond the picture where it is the first or the last of an image */
static void row_margins(const ek_margins *margins, uint8_t *plane, int64_t row) {
    int64_t last = row % margins->period == margins->height - 1 ? row / margins->period * margins->period + margins->period
                                                                : row + 1;
    int64_t end = last * margins->pitch < margins->pixels ? last * margins->pitch : margins->pixels;
    ek_restore_margins(margins, plane, row * margins->pitch, end);
}

void ek_pack_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_pack_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    int64_t quads = (op->channels + EK_QUAD - 1) / EK_QUAD, phases = (int64_t)op->step_y * op->step_x;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t image = unit / op->height, y = unit % op->height, row = image * op->period + y;
        const uint8_t *in = arena + op->input + image * op->rows * op->columns * op->channels;
        for (int64_t plane = 0; plane < phases * quads; plane++) {
            uint8_t *out = arena + op->output + plane * op->output_stride;
            int64_t a = plane / quads / op->step_x, b = plane / quads % op->step_x;
            pack_row(op, in, out + EK_QUAD * row * op->output_pitch, y * op->step_y + a - op->top, b - op->left,
                     plane % quads);
            row_margins(&margins, out, row);
        }
    }
}

static const char *check_steps(int32_t step_y, int32_t step_x, int32_t top, int32_t left) {
    CHECK(0 < step_y && step_y <= EK_MAX_STEP && 0 < step_x && step_x <= EK_MAX_STEP, "an impossible step");
    CHECK(-EK_LIMIT / 256 < top && top < EK_LIMIT / 256 && -EK_LIMIT / 256 < left && left < EK_LIMIT / 256,
          "an impossible margin");
    return NULL;
}

static const char *check_plain(int64_t place, int64_t images, int64_t rows, int64_t columns, int64_t channels,
                               int64_t arena_bytes) {
    CHECK(ek_is_size(rows) && ek_is_size(columns) && ek_is_size(channels), "impossible sizes");
    CHECK(images * rows < EK_LIMIT / columns, "impossible sizes");
    CHECK(images * rows * columns < EK_LIMIT && channels < EK_LIMIT, "impossible sizes");
    CHECK_RANGE(place, images * rows * columns * channels);
    return NULL;
}

const char *ek_pack_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_pack_planes *op = op_;
    const char *reason = check_steps(op->step_y, op->step_x, op->top, op->left);
    if (reason) return reason;
    CHECK(ek_is_size(op->channels), "impossible sizes");
    CHECK_PICTURE(op, (int64_t)op->step_y * op->step_x * ((op->channels + EK_QUAD - 1) / EK_QUAD));
    CHECK(ek_is_stored(op->zero_point) && (op->flip == 0 || op->flip == 0x80), "an impossible zero point");
    *units = (int64_t)op->images * op->height;
    return check_plain(op->input, op->images, op->rows, op->columns, op->channels, arena_bytes);
}

/* A row of one quad: `count` bytes of each pixel, `row_bytes` apart in `out` */
static void unpack_row(const ek_unpack_planes *op, const uint8_t *in, int64_t count, uint8_t *out) {
    const uint32_t flip = (uint32_t)op->flip * 0x01010101u;
    for (int64_t x = 0; x < op->width; x++, in += EK_QUAD, out += op->row_bytes) {
        uint32_t word;
        memcpy(&word, in, sizeof word);
        word ^= flip;
        if (count >= EK_QUAD)
            memcpy(out, &word, EK_QUAD);
        else
            memcpy(out, &word, (size_t)count);
    }
}

void ek_unpack_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_unpack_planes *op = op_;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t image = unit / op->height, row = image * op->period + unit % op->height;
        const uint8_t *in = arena + op->input + EK_QUAD * row * op->input_pitch;
        uint8_t *out = arena + op->output + unit * op->width * op->row_bytes;
        for (int64_t c = 0; c < op->channels; c += EK_QUAD, in += op->input_stride)
            unpack_row(op, in, op->channels - c, out + c);
    }
}

const char *ek_unpack_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_unpack_planes *op = op_;
    CHECK(ek_is_size(op->images) && ek_is_size(op->height) && ek_is_size(op->width), "impossible sizes");
    CHECK(op->period >= op->height && ek_is_size(op->period), "images that overlap");
    CHECK(op->input_pitch >= op->width && ek_is_size(op->input_pitch), "rows that overlap");
    CHECK((int64_t)op->images * op->period < EK_LIMIT / op->input_pitch, "impossible sizes");
    CHECK(ek_is_size(op->channels) && op->row_bytes >= op->channels && ek_is_size(op->row_bytes), "impossible sizes");
    CHECK(op->flip == 0 || op->flip == 0x80, "an impossible flip");
    CHECK_READ(op->input, op->input_stride, (op->channels + EK_QUAD - 1) / EK_QUAD,
               ek_pixels(op->images, op->height, op->period, op->input_pitch));
    int64_t pixels = (int64_t)op->images * op->height * op->width;
    CHECK_RANGE(op->output, (pixels - 1) * op->row_bytes + op->channels);
    *units = (int64_t)op->images * op->height;
    return NULL;
}

/* Every `step`th pixel from column `from` on, `count` of them; those outside [0, columns) are `zero` */
static void take_pixels(const uint8_t *row, int64_t columns, int64_t from, int64_t step, int64_t count, uint32_t zero,
                        uint8_t *out) {
    span inside = span_of(columns, from, step, count);
    const uint8_t *in = row + EK_QUAD * (from + step * inside.first);
    uint8_t *taken = out + EK_QUAD * inside.first;
    ek_fill_pixels(out, 0, inside.first, zero);
    if (step == 2) /* the usual step, as a constant that compilers make vectors of */
        for (int64_t x = 0; x < inside.last - inside.first; x++)
            memcpy(taken + EK_QUAD * x, in + 2 * EK_QUAD * x, EK_QUAD);
    else
        for (int64_t x = 0; x < inside.last - inside.first; x++)
            memcpy(taken + EK_QUAD * x, in + step * EK_QUAD * x, EK_QUAD);
    ek_fill_pixels(out, inside.last, count, zero);
}

/* Phase (a, b) of a plane */
static void split_plane(const ek_split_phases *op, const uint8_t *in, uint8_t *out, int64_t a, int64_t b) {
    uint32_t zero = ek_margin_word(op->zero_point);
    for (int64_t i = 0; i < op->images; i++)
        for (int64_t y = 0; y < op->height; y++) {
            int64_t from = y * op->step_y + a - op->top;
            int64_t columns = 0 <= from && from < op->rows ? op->columns : 0;
            const uint8_t *row = in + EK_QUAD * ((i * op->input_period + (columns ? from : 0)) * op->input_pitch);
            take_pixels(row, columns, b - op->left, op->step_x, op->width, zero,
                        out + EK_QUAD * (i * op->period + y) * op->output_pitch);
        }
}

void ek_split_phases__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_split_phases *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t phase = 0; phase < op->step_y * op->step_x; phase++) {
            if (!(op->phases >> phase & 1)) continue;
            split_plane(op, in, out, phase / op->step_x, phase % op->step_x);
            ek_restore_plane(&margins, out);
            out += op->planes * op->output_stride;
        }
    }
}

const char *ek_split_phases_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_split_phases *op = op_;
    const char *reason = check_steps(op->step_y, op->step_x, op->top, op->left);
    if (reason) return reason;
    CHECK(op->step_y * op->step_x <= 32 && op->phases, "phases that do not exist");
    CHECK(!((uint64_t)op->phases >> (op->step_y * op->step_x)), "phases that do not exist");
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, (int64_t)op->planes * __builtin_popcount(op->phases));
    CHECK_INPUT_PICTURE(op, op->planes, op->rows, op->columns);
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    *units = op->planes;
    return NULL;
}

/* Every `step`th pixel of a row, from the first on */
static void put_pixels(const uint8_t *restrict in, uint8_t *restrict out, int64_t pixels, int64_t step) {
    for (int64_t x = 0; x < pixels; x++) memcpy(out + EK_QUAD * step * x, in + EK_QUAD * x, EK_QUAD);
}

/* Pixels of two rows by turns, so many of each */
static void put_turns(const uint8_t *restrict a, const uint8_t *restrict b, uint8_t *restrict out, int64_t pixels) {
    for (int64_t x = 0; x < pixels; x++) {
        memcpy(out + 2 * EK_QUAD * x, a + EK_QUAD * x, EK_QUAD);
        memcpy(out + 2 * EK_QUAD * x + EK_QUAD, b + EK_QUAD * x, EK_QUAD);
    }
}

/* A row of pixels of `step` rows by turns, each `phase` bytes behind the one before */
static void join_row(const uint8_t *in, int64_t phase, uint8_t *out, int64_t pixels, int64_t step) {
    int64_t done = 0;
    if (step == 2) {
        done = pixels / 2 * 2;
        put_turns(in, in + phase, out, pixels / 2);
    }
    for (int64_t b = 0; b < step && done + b < pixels; b++)
        put_pixels(in + b * phase + EK_QUAD * (done / step), out + EK_QUAD * (done + b), (pixels - done - b + step - 1) / step,
                   step);
}

void ek_join_phases__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_join_phases *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    const int64_t phase = op->planes * op->input_stride;
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t row = 0; row < (int64_t)op->images * op->height; row++) {
            int64_t i = row / op->height, y = row % op->height;
            const uint8_t *from = in + y % op->step_y * op->step_x * phase +
                                  EK_QUAD * (i * op->input_period + y / op->step_y) * op->input_pitch;
            uint8_t *to = out + EK_QUAD * (i * op->period + y) * op->output_pitch;
            join_row(from, phase, to, op->width, op->step_x);
        }
        ek_restore_plane(&margins, out);
    }
}

const char *ek_join_phases_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_join_phases *op = op_;
    const char *reason = check_steps(op->step_y, op->step_x, 0, 0);
    if (reason) return reason;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    CHECK_INPUT_PICTURE(op, (int64_t)op->planes * op->step_y * op->step_x, (op->height - 1) / op->step_y + 1,
                        (op->width - 1) / op->step_x + 1);
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    *units = op->planes;
    return NULL;
}

void ek_resize_planes__scalar(const void *op_, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_resize_planes *op = op_;
    ek_margins margins = EK_MARGINS(op, op->zero_point);
    for (int64_t q = begin; q < end; q++) {
        const uint8_t *in = arena + op->input + q * op->input_stride;
        uint8_t *out = arena + op->output + q * op->output_stride;
        for (int64_t i = 0; i < op->images; i++)
            for (int64_t y = 0; y < op->height; y++)
                for (int64_t x = 0; x < op->width; x++) {
                    int64_t from = (i * op->input_period + op->source_rows[y]) * op->input_pitch + op->source_columns[x];
                    memcpy(out + EK_QUAD * ((i * op->period + y) * op->output_pitch + x), in + EK_QUAD * from, EK_QUAD);
                }
        ek_restore_plane(&margins, out);
    }
}

/* The largest of `count` indices and one more, or 0 if one is no size */
static int64_t extent(const int32_t *indices, int64_t count) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!ek_is_size(indices[i] + INT64_C(1))) return 0;
        most = indices[i] >= most ? indices[i] + 1 : most;
    }
    return most;
}

const char *ek_resize_planes_check(const void *op_, int64_t arena_bytes, int64_t *units) {
    const ek_resize_planes *op = op_;
    CHECK(ek_is_size(op->planes), "impossible sizes");
    CHECK_PICTURE(op, op->planes);
    CHECK(op->source_rows_size == op->height && op->source_columns_size == op->width, "another number of sources");
    int64_t rows = extent(op->source_rows, op->height), columns = extent(op->source_columns, op->width);
    CHECK_INPUT_PICTURE(op, op->planes, rows, columns);
    CHECK(ek_is_stored(op->zero_point), "an impossible zero point");
    *units = op->planes;
    return NULL;
}
