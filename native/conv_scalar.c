/* Convolutions on planes: the definition that every ISA level is tested against, and their check. */

#include "check.h"
#include "conv.h"
#include "margin.h"
#include "requantise.h"

static int32_t dot4(const ek_byte *x, int32_t word) {
    int8_t w[EK_QUAD];
    memcpy(w, &word, sizeof word);
    return x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
}

static int32_t flipped_dot4(const ek_byte *x, int32_t word) {
    ek_byte quad[EK_QUAD];
    for (int k = 0; k < EK_QUAD; k++) quad[k] = k % 2 ? (ek_byte)(x[k] ^ 255) : x[k];
    return dot4(quad, word);
}

static int32_t planar_dot(const ek_byte *in, const int32_t *entry) {
    ek_byte quad[EK_QUAD];
    for (int k = 0; k < EK_QUAD; k++) quad[k] = in[entry[k]];
    return dot4(quad, entry[EK_QUAD]);
}

static int32_t sum_of(const ek_conv *conv, const ek_byte *in, int64_t channel) {
    int64_t group = channel / conv->group, member = channel % conv->group, size = ek_conv_entry_size(conv);
    int64_t end = conv->starts[group + 1], plain_end = conv->flipped_size ? conv->flipped[group] : end;
    int32_t sum = conv->bias[channel];
    for (int64_t e = conv->starts[group]; e < end; e++) {
        const int32_t *entry = conv->entries + e * size;
        if (conv->planar)
            sum += planar_dot(in, entry);
        else if (ek_conv_has_offsets(conv))
            sum += dot4(in + conv->offsets[e], entry[member]);
        else
            sum += (e < plain_end ? dot4 : flipped_dot4)(in + ek_conv_distance(conv, entry[0]), entry[1 + member]);
    }
    return sum;
}

static int32_t value_of(const ek_conv *conv, int64_t channel, int32_t sum) {
    if (!conv->biased) return EK_REQUANTISED(conv, channel, sum);
    int32_t y = ek_scale_biased(sum, conv->scale[channel], conv->biased_zero_point[channel]);
    return ek_clamp(y, conv->low, conv->high);
}

static int32_t add_residual(const ek_conv *conv, int32_t own, int32_t other) {
    int32_t z = own * conv->residual_own + other * conv->residual_other + conv->residual_bias;
    return ek_clamp(z >> conv->residual_shift, conv->residual_low, conv->residual_high);
}

/* Channel c of the pixels [first, last) */
static void channel(const ek_conv *conv, uint8_t *arena, int64_t c, int64_t first, int64_t last) {
    int64_t plane = c / EK_QUAD, member = c % EK_QUAD;
    const ek_byte *in = (const ek_byte *)arena + conv->input;
    const ek_byte *other = (const ek_byte *)arena + conv->residual + plane * conv->residual_stride + member;
    ek_byte *out = (ek_byte *)arena + conv->output + plane * conv->output_stride + member;
    for (int64_t p = first; p < last; p++) {
        int32_t y = value_of(conv, c, sum_of(conv, in + (conv->planar ? 1 : EK_QUAD) * p, c));
        out[EK_QUAD * p] = (ek_byte)(conv->has_residual ? add_residual(conv, y, other[EK_QUAD * p]) : y);
    }
}

void ek_conv__scalar(const void *op, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_conv *conv = op;
    ek_margins margins = EK_MARGINS(conv, conv->has_residual ? conv->residual_zero_point : conv->zero_point);
    for (int64_t number = begin; number < end; number++) {
        ek_conv_unit unit = ek_conv_get_unit(conv, margins.pixels, number);
        int64_t first = unit.first * conv->vector, last = unit.last * conv->vector;
        last = last < margins.pixels ? last : margins.pixels;
        for (int64_t c = unit.begin; c < unit.end; c++) {
            channel(conv, arena, c, first, last);
            if (c % EK_QUAD == EK_QUAD - 1)
                ek_restore_margins(&margins, arena + conv->output + c / EK_QUAD * conv->output_stride, first, last);
        }
    }
}

/* In fours, then in twos */
static const char *check_runs(const ek_conv *conv, int64_t groups) {
    CHECK(conv->runs_size == 0 || conv->runs_size == 2 * groups, "another number of runs");
    for (int64_t g = 0; g < conv->runs_size / 2; g++) {
        int64_t fours_end = conv->runs[2 * g], twos_end = conv->runs[2 * g + 1];
        CHECK(conv->starts[g] <= fours_end && fours_end <= twos_end && twos_end <= conv->starts[g + 1], "impossible runs");
        CHECK((fours_end - conv->starts[g]) % 4 == 0 && (twos_end - fours_end) % 2 == 0, "impossible runs");
    }
    return NULL;
}

/* Behind the runs */
static const char *check_flipped(const ek_conv *conv, int64_t groups) {
    if (!conv->flipped_size) return NULL;
    CHECK(conv->flipped_size == groups && conv->runs_size && conv->group <= EK_QUAD, "inverted bytes without runs");
    for (int64_t g = 0; g < groups; g++)
        CHECK(conv->runs[2 * g + 1] <= conv->flipped[g] && conv->flipped[g] <= conv->starts[g + 1], "impossible inverted bytes");
    return NULL;
}

/* Entries stay within what a tile gathers, and that within the arena */
static const char *check_gathered(const ek_conv *conv, int64_t pixels, int64_t arena_bytes) {
    int64_t planes = conv->gathered_planes, before = conv->gathered_before;
    CHECK(conv->runs_size && conv->group <= 2 * EK_QUAD, "gathered input without runs");
    CHECK(0 < conv->gathered && conv->gathered <= EK_GATHERED && conv->gathered % (EK_QUAD * conv->vector) == 0,
          "an impossible size of gathered input");
    CHECK(0 < planes && planes <= EK_GATHERED / conv->gathered, "more gathered input than there is room for");
    int64_t around = ek_conv_gathered_around(conv), own = conv->gathered - around, size = ek_conv_entry_size(conv);
    CHECK(0 <= before && before <= around, "gathered input without its pixels");
    int64_t whole = ek_conv_vectors(conv, pixels) * conv->vector * EK_QUAD;
    CHECK(ek_planes_inside(conv->input - before, conv->input_stride, planes, 0, 0, 0, arena_bytes) &&
          ek_inside(conv->input - before + (planes - 1) * conv->input_stride, whole + around, arena_bytes),
          "gathered input outside the arena");
    for (int64_t e = 0; e < conv->entries_size; e += size) {
        int64_t at = conv->entries[e] + before;
        CHECK(0 <= at && at < planes * conv->gathered && at % conv->gathered + own <= conv->gathered,
              "an entry that reaches beyond gathered input");
    }
    return NULL;
}

static const char *check_in_place(const ek_conv *conv, int64_t pixels, int64_t arena_bytes) {
    int64_t reach = (conv->planar ? 1 : EK_QUAD) * pixels + EK_SLACK, size = ek_conv_entry_size(conv);
    int64_t within = conv->planar ? EK_QUAD : ek_conv_has_offsets(conv) ? 0 : 1;
    for (int64_t e = 0; e < conv->entries_size; e++)
        CHECK(e % size >= within || ek_inside(conv->input + conv->entries[e], reach, arena_bytes),
              "an entry that reaches outside the arena");
    for (int64_t e = 0; e < conv->offsets_size; e++)
        CHECK(ek_inside(conv->input + conv->offsets[e], reach, arena_bytes), "an entry that reaches outside the arena");
    return NULL;
}

static const char *check_entries(const ek_conv *conv, int64_t pixels, int64_t arena_bytes) {
    int64_t groups = conv->channels / conv->group, size = ek_conv_entry_size(conv);
    CHECK(conv->starts_size == groups + 1 && conv->starts[0] == 0, "another number of groups");
    for (int64_t g = 0; g < groups; g++) CHECK(conv->starts[g] <= conv->starts[g + 1], "entries out of order");
    CHECK(conv->entries_size == conv->starts[groups] * size, "another number of entries");
    CHECK(conv->offsets_size == (ek_conv_has_offsets(conv) ? conv->starts[groups] : 0), "another number of offsets");
    CHECK(0 <= conv->input && conv->input <= arena_bytes, "an input outside the arena");
    const char *reason = (conv->gathered ? check_gathered : check_in_place)(conv, pixels, arena_bytes);
    if (!reason) reason = check_runs(conv, groups);
    return reason ? reason : check_flipped(conv, groups);
}

static const char *check_requantisation(const ek_conv *conv) {
    int64_t exact = conv->exact ? conv->channels : 0, biased = conv->biased ? conv->channels : 0;
    CHECK(conv->bias_size == conv->channels && conv->scale_size == conv->channels, "another number of biases or scales");
    CHECK(conv->multiplier_size == exact && conv->shift_size == exact, "another number of multipliers");
    CHECK(conv->biased_zero_point_size == biased && !(exact && biased), "another number of zero points");
    for (int64_t c = 0; c < exact; c++) {
        CHECK(-31 <= conv->shift[c] && conv->shift[c] <= 30, "an impossible shift");
        CHECK(conv->multiplier[c] >= 0, "an impossible multiplier");
    }
    CHECK(ek_is_stored(conv->zero_point) && ek_is_stored(conv->low) && ek_is_stored(conv->high), "an impossible clamp");
    CHECK(conv->low <= conv->high, "an impossible clamp");
    return NULL;
}

static const char *check_residual(const ek_conv *conv, int64_t pixels, int64_t arena_bytes) {
    if (!conv->has_residual) return NULL;
    CHECK(ek_planes_inside(conv->residual, conv->residual_stride, conv->channels / EK_QUAD, pixels, 0, 0, arena_bytes),
          "a residual outside the arena");
    CHECK(0 <= conv->residual_shift && conv->residual_shift <= 30, "an impossible shift");
    CHECK(-32768 <= conv->residual_own && conv->residual_own <= 32767, "an impossible weight");
    CHECK(-32768 <= conv->residual_other && conv->residual_other <= 32767, "an impossible weight");
    CHECK(-(1 << 30) <= conv->residual_bias && conv->residual_bias <= 1 << 30, "an impossible bias");
    CHECK(ek_is_stored(conv->residual_low) && ek_is_stored(conv->residual_high), "an impossible clamp");
    CHECK(conv->residual_low <= conv->residual_high && ek_is_stored(conv->residual_zero_point), "an impossible clamp");
    return NULL;
}

const char *ek_conv_check(const void *op, int64_t arena_bytes, int64_t *units) {
    const ek_conv *conv = op;
    CHECK(conv->group == 1 || conv->group == 4 || conv->group == 8 || conv->group == 16 || conv->group == 32, "an impossible group");
    CHECK(0 < conv->channels && conv->channels < EK_LIMIT, "an impossible number of channels");
    CHECK(conv->channels % EK_QUAD == 0 && conv->channels % conv->group == 0, "an impossible number of channels");
    CHECK(!conv->planar || (conv->group == 1 && conv->runs_size == 0), "an impossible group");
    CHECK(4 <= conv->vector && conv->vector <= 64 && 64 % conv->vector == 0, "an impossible vector");
    CHECK(0 < conv->tile && conv->tile <= 64 && 0 < conv->block && conv->block % 8 == 0, "an impossible tile");
    CHECK(conv->block % conv->group == 0, "blocks that split a group");
    CHECK_PICTURE(conv, conv->channels / EK_QUAD);
    CHECK(conv->input_pitch == conv->output_pitch, "rows of another length");
    int64_t pixels = ek_pixels(conv->images, conv->height, conv->period, conv->output_pitch);
    const char *reason = check_entries(conv, pixels, arena_bytes);
    if (!reason) reason = check_requantisation(conv);
    if (!reason) reason = check_residual(conv, pixels, arena_bytes);
    if (reason) return reason;
    *units = ek_conv_units(conv, pixels);
    return NULL;
}
