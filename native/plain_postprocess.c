/* TFLite_Detection_PostProcess: boxes out of their anchors, and the best of those that overlap. */

#include <math.h>
#include <string.h>

#include "plain.h"

typedef struct box {
    float top, left, bottom, right;
} box;

typedef struct detection {
    float score;
    int32_t number; /* row * columns + column of the scores */
} detection;

/* The scratch memory: see EK_POSTPROCESS in ops_many.h. */
typedef struct scratch {
    box *boxes;
    float *values;           /* a score of each box */
    int32_t *order, *spare;  /* boxes, best first; and what sorting needs */
    detection *best, *other; /* of all classes so far; 2 * max_detections each */
} scratch;

static scratch scratch_of(const ek_postprocess *op, uint8_t *arena) {
    scratch s;
    s.best = (detection *)(arena + op->scratch);
    s.other = s.best + 2 * op->max_detections;
    s.boxes = (box *)(s.other + 2 * op->max_detections);
    s.values = (float *)(s.boxes + op->boxes_count);
    s.order = (int32_t *)(s.values + op->boxes_count);
    s.spare = s.order + op->boxes_count;
    return s;
}

static box decode(const ek_postprocess *op, const float *code, const float *anchor) {
    float y = (float)((double)code[0] / op->y_scale * anchor[2] + anchor[0]);
    float x = (float)((double)code[1] / op->x_scale * anchor[3] + anchor[1]);
    float half_height = (float)(0.5 * exp((double)code[2] / op->h_scale) * anchor[2]);
    float half_width = (float)(0.5 * exp((double)code[3] / op->w_scale) * anchor[3]);
    return (box){y - half_height, x - half_width, y + half_height, x + half_width};
}

static float larger(float a, float b) {
    return a < b ? b : a;
}

static float smaller(float a, float b) {
    return b < a ? b : a;
}

/* Intersection over union */
static float overlap(box a, box b) {
    float area = (a.bottom - a.top) * (a.right - a.left), other = (b.bottom - b.top) * (b.right - b.left);
    if (area <= 0 || other <= 0) return 0;
    float height = smaller(a.bottom, b.bottom) - larger(a.top, b.top);
    float width = smaller(a.right, b.right) - larger(a.left, b.left);
    float common = larger(height, 0) * larger(width, 0);
    return common / (area + other - common);
}

/* Sorts `order` by falling values, equal ones as they were: runs of 1, 2, 4... merged. */
static void sort_down(const float *values, int32_t *order, int32_t *spare, int64_t count) {
    for (int64_t run = 1; run < count; run *= 2) {
        for (int64_t start = 0; start < count; start += 2 * run) {
            int64_t middle = ek_least(start + run, count), end = ek_least(start + 2 * run, count), a = start, b = middle;
            for (int64_t i = start; i < end; i++)
                spare[i] = b < end && (a >= middle || values[order[b]] > values[order[a]]) ? order[b++] : order[a++];
        }
        memcpy(order, spare, (size_t)count * sizeof *order);
    }
}

/* The boxes of one class that stay, best first, at the start of s.order; how many. */
static int64_t suppress(const ek_postprocess *op, scratch s, int64_t most) {
    int64_t count = 0, kept = 0;
    for (int32_t i = 0; i < op->boxes_count; i++)
        if (s.values[i] >= op->score_threshold) s.order[count++] = i;
    sort_down(s.values, s.order, s.spare, count);
    memset(s.spare, 0, (size_t)count * sizeof *s.spare);
    for (int64_t i = 0; i < count && kept < most; i++) {
        if (s.spare[i]) continue;
        int32_t winner = s.order[i];
        for (int64_t j = i + 1; j < count; j++)
            if (!s.spare[j]) s.spare[j] = overlap(s.boxes[winner], s.boxes[s.order[j]]) > op->overlap_threshold;
        s.order[kept++] = winner;
    }
    return kept;
}

static void put(const ek_postprocess *op, uint8_t *arena, scratch s, int64_t place, int64_t row, int64_t class, float score) {
    memcpy(arena + op->output_boxes + place * (int64_t)sizeof(box), &s.boxes[row], sizeof(box));
    ((float *)(arena + op->output_classes))[place] = (float)class;
    ((float *)(arena + op->output_scores))[place] = score;
}

/* Each box once, by its best class; `several` of its classes are put out. */
static int64_t fast(const ek_postprocess *op, const float *scores, uint8_t *arena, scratch s) {
    int64_t columns = op->columns, offset = columns - op->classes, several = op->max_classes;
    for (int64_t row = 0; row < op->boxes_count; row++) {
        const float *of = scores + row * columns + offset;
        float best = of[0];
        for (int64_t c = 1; c < op->classes; c++) best = of[c] > best ? of[c] : best;
        s.values[row] = best;
    }
    int64_t kept = suppress(op, s, op->max_detections);
    for (int64_t i = 0; i < kept; i++) {
        const float *of = scores + s.order[i] * columns + offset;
        int64_t class = -1;
        for (int64_t n = 0; n < ek_least(several, op->classes); n++) {
            int64_t next = -1; /* the best of those that are worse than the last, or equal and later */
            for (int64_t c = 0; c < op->classes; c++)
                if ((class < 0 || of[c] < of[class] || (of[c] == of[class] && c > class)) && (next < 0 || of[c] > of[next])) next = c;
            if (next < 0) break;
            class = next;
            put(op, arena, s, several * i + n, s.order[i], class, of[class]);
        }
    }
    return kept;
}

/* Adds `count` detections of a class, best first, to the best of all classes; equal ones come behind. */
static int64_t merge(const ek_postprocess *op, scratch *s, int64_t have, int64_t count, int64_t column) {
    int64_t a = 0, b = 0, total = ek_least(have + count, op->max_detections);
    for (int64_t i = 0; i < total; i++)
        if (b < count && (a >= have || s->values[s->order[b]] > s->best[a].score)) {
            s->other[i] = (detection){s->values[s->order[b]], (int32_t)(s->order[b] * op->columns + column)};
            b++;
        } else
            s->other[i] = s->best[a++];
    detection *old = s->best;
    s->best = s->other, s->other = old;
    return total;
}

/* Each class by itself */
static int64_t regular(const ek_postprocess *op, const float *scores, uint8_t *arena, scratch s) {
    int64_t columns = op->columns, offset = columns - op->classes, have = 0;
    int64_t most = ek_least(op->per_class, op->max_detections);
    for (int64_t column = offset; column < columns; column++) {
        for (int64_t row = 0; row < op->boxes_count; row++) s.values[row] = scores[row * columns + column];
        have = merge(op, &s, have, suppress(op, s, most), column);
    }
    for (int64_t i = 0; i < have; i++)
        put(op, arena, s, i, s.best[i].number / columns, s.best[i].number % columns - offset, s.best[i].score);
    return have;
}

void ek_postprocess__scalar(const void *raw, uint8_t *arena, int64_t begin, int64_t end) {
    const ek_postprocess *op = raw;
    if (begin == end) return;
    scratch s = scratch_of(op, arena);
    const float *codes = (const float *)EK_SOURCE_OF(op, boxes, arena), *scores = (const float *)EK_SOURCE_OF(op, scores, arena);
    for (int64_t i = 0; i < op->boxes_count; i++) s.boxes[i] = decode(op, codes + i * op->coordinates, op->anchors + 4 * i);
    int64_t rows = op->max_detections * op->max_classes;
    memset(arena + op->output_boxes, 0, (size_t)rows * sizeof(box));
    memset(arena + op->output_classes, 0, (size_t)rows * sizeof(float));
    memset(arena + op->output_scores, 0, (size_t)rows * sizeof(float));
    *(float *)(arena + op->output_count) = (float)(op->regular ? regular : fast)(op, scores, arena, s);
}

const char *ek_postprocess_check(const void *raw, int64_t arena_bytes, int64_t *units) {
    const ek_postprocess *op = raw;
    int64_t count = op->boxes_count, most = op->max_detections, limit = 1 << 20;
    CHECK(1 <= count && count < limit && 4 <= op->coordinates && op->coordinates < 1024, "impossible sizes");
    CHECK(1 <= op->classes && op->classes < 1024, "impossible sizes");
    CHECK(op->columns == op->classes || op->columns == op->classes + 1, "scores of another number of classes");
    CHECK(1 <= most && most < limit && 1 <= op->max_classes && op->max_classes < 1024, "impossible sizes");
    CHECK(op->per_class >= 1 && op->anchors_size == 4 * count, "anchors of another number");
    int64_t rows = most * op->max_classes;
    const int64_t places[][2] = {{op->output_boxes, 16 * rows}, {op->output_classes, 4 * rows}, {op->output_scores, 4 * rows},
                                 {op->output_count, 4}, {op->scratch, 32 * most + 28 * count}};
    CHECK_SOURCE(op, boxes, 0, 4 * count * op->coordinates, 4);
    CHECK_SOURCE(op, scores, 0, 4 * count * op->columns, 4);
    for (int i = 0; i < 5; i++) {
        CHECK_RANGE(places[i][0], places[i][1]);
        CHECK_ALIGNED(places[i][0], 4);
        CHECK_SOURCE_APART(op, boxes, 0, 4 * count * op->coordinates, places[i][0], places[i][1]);
        CHECK_SOURCE_APART(op, scores, 0, 4 * count * op->columns, places[i][0], places[i][1]);
        for (int j = 0; j < i; j++) CHECK_APART(places[i][0], places[i][1], places[j][0], places[j][1]);
    }
    *units = 1;
    return NULL;
}
