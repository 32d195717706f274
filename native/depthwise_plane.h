/* One plane of a depthwise convolution, made ready for vectors: see depthwise_walk.h. */

#include <string.h>

#include "margin.h"

#define INLINE static inline __attribute__((always_inline)) TARGET
#define APART static __attribute__((noinline)) TARGET
#define EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
#define LOOP _Pragma("GCC unroll 1")
enum { BYTES = EK_QUAD * PIXELS, GROUP = 4, MOST = 64 /* pieces */, WORDS = 128 };

/* How the words of each plane are made of its weights. Pieces that have the same taps of rows follow each other. */
typedef struct recipe {
    int count, sure;           /* pieces, and those of the first set, which are always there */
    int each;                  /* words of a piece */
    int64_t offsets[MOST];     /* of a piece: bytes from the window's first tap */
    int64_t places[WORDS];     /* of 16 weights around those of a word */
    __m128i controls[WORDS];   /* which of them it takes */
} recipe;

/* What sums start with, those of even and of odd pixels, and what they become */
typedef struct ending {
    vector bias[2], low, high, zero, multiplier, left, right;
    reals scale, zero_point;
    int is_clamped;
} ending;

typedef struct plane {
    int count;
    const int64_t *offsets; /* of pieces */
    int64_t own_offsets[MOST];
    __m128i words[WORDS];
#ifdef PAIRS_IN_16_BITS
    __m128i flips[MOST]; /* of each piece: the bytes of its pixels that are inverted */
    __m128i flipped[2];  /* what that takes from the sums of even and of odd pixels */
#endif
    ending to;
} plane;

/* The word of taps `first` to `first` + 3 of the row that starts at weight `start`, with zeros for taps outside of
   [from, to). All it takes is looked for among `size` weights, of which there are at least 16. */
INLINE void add_word(recipe *r, int number, int start, int first, int from, int to, int size) {
    const __m128i order = _mm_setr_epi8(ORDER), tap = _mm_and_si128(_mm_srli_epi16(order, 2), _mm_set1_epi8(3));
    const __m128i inside = _mm_and_si128(_mm_cmpgt_epi8(tap, _mm_set1_epi8((char)(from - first - 1))),
                                         _mm_cmpgt_epi8(_mm_set1_epi8((char)(to - first)), tap));
    const int wanted = start + EK_QUAD * first, place = wanted < 0 ? 0 : wanted > size - 16 ? size - 16 : wanted;
    const __m128i index = _mm_add_epi8(order, _mm_set1_epi8((char)(wanted - place)));
    r->places[number] = place;
    r->controls[number] = _mm_or_si128(index, _mm_andnot_si128(inside, _mm_set1_epi8(-128)));
}

/* The words of a piece from tap `first` on, of `taps` of a row */
INLINE void add_words(recipe *r, int start, int first, int taps, int size, int stride) {
    const int number = r->count * r->each;
    LOOP for (int i = 0; i < r->each; i++) {
        if (r->each == 8) /* five taps, stride 1 */
            add_word(r, number + i, start, i / 4 * 4 - i % 4, 0, taps, size);
        else
            add_word(r, number + i, start, first - i, 0, taps, size);
    }
    if (r->each == 4) { /* five taps, stride 2 */
        add_word(r, number, start, 0, 0, 4, size);
        add_word(r, number + 1, start, 3, 4, taps, size);
        add_word(r, number + 2, start, -2, 0, 1, size);
        add_word(r, number + 3, start, 1, 1, taps, size);
    }
    (void)stride;
}

APART void make_recipe(const ek_depthwise *op, recipe *r, int five) {
    const int taps = op->window_width, rows = op->window_height, end = five ? 1 : taps + (op->stride == 1);
    const int size = op->sets * rows * taps * EK_QUAD;
    r->count = 0;
    r->each = (five ? 4 : 1) * (op->stride == 1 ? 2 : 1);
    for (int set = 0; set < op->sets; set++) {
        for (int tap = 0; tap < end; tap += GROUP)
            for (int y = 0; y < rows; y++) {
                r->offsets[r->count] = EK_QUAD * ((int64_t)y * op->input_pitch + tap);
                add_words(r, (set * rows + y) * taps * EK_QUAD, tap, taps, size, op->stride);
                r->count++;
            }
        if (!set) r->sure = r->count;
    }
}

INLINE __m128i word_of(const recipe *r, const int8_t *weights, int number) {
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(weights + r->places[number])), r->controls[number]);
}

#ifdef PAIRS_IN_16_BITS
/* Of pairs of weights those that could saturate: 0xFF in the second byte of each, so the other one of the two */
INLINE __m128i too_large(__m128i word) {
    const __m128i sum = _mm_add_epi16(_mm_srai_epi16(_mm_slli_epi16(word, 8), 8), _mm_srai_epi16(word, 8));
    const __m128i most = _mm_set1_epi16(INT16_MAX / UINT8_MAX);
    const __m128i over = _mm_or_si128(_mm_cmpgt_epi16(sum, most), _mm_cmpgt_epi16(_mm_sub_epi16(_mm_setzero_si128(), most), sum));
    return _mm_slli_epi16(over, 8);
}

/* w * x = 255 * w - w * (255 - x): with the second pixel of a pair inverted its weight has the other sign, and a sum
   of two that was too large is a difference, which never is. Windows of up to 3 taps a row have at most one such pair
   in each piece, wherever it stands in the words for even and for odd pixels. */
INLINE void flip_pairs(const recipe *r, plane *p) {
    const __m128i every_255 = _mm_set1_epi8(-1), ones = _mm_set1_epi16(1);
    const int each = r->each;
    p->flipped[0] = p->flipped[1] = _mm_setzero_si128();
    LOOP for (int i = 0; i < p->count; i++) {
        __m128i *words = p->words + i * each, flip = too_large(words[0]);
        if (each > 1) flip = _mm_or_si128(flip, too_large(words[1]));
        p->flips[i] = flip;
        LOOP for (int j = 0; j < each; j++) {
            const __m128i taken = _mm_madd_epi16(_mm_maddubs_epi16(every_255, _mm_and_si128(words[j], flip)), ones);
            p->flipped[j] = _mm_add_epi32(p->flipped[j], taken);
            words[j] = _mm_sub_epi8(_mm_xor_si128(words[j], flip), flip);
        }
    }
    if (each == 1) p->flipped[1] = p->flipped[0];
}
#endif

/* The plane's words, without pieces of sets but the first that are all zero */
INLINE void take_words(const recipe *r, const int8_t *weights, plane *to) {
    const int each = r->each;
    int count = r->sure;
    LOOP for (int j = 0; j < count * each; j++) to->words[j] = word_of(r, weights, j);
    to->offsets = r->offsets;
    if (r->count > count) {
        to->offsets = to->own_offsets;
        memcpy(to->own_offsets, r->offsets, (size_t)count * sizeof *r->offsets);
        LOOP for (int i = count; i < r->count; i++) {
            __m128i any = _mm_setzero_si128();
            LOOP for (int j = 0; j < each; j++) {
                to->words[count * each + j] = word_of(r, weights, i * each + j);
                any = _mm_or_si128(any, to->words[count * each + j]);
            }
            to->own_offsets[count] = r->offsets[i];
            count += !_mm_testz_si128(any, any);
        }
    }
    to->count = count;
#ifdef PAIRS_IN_16_BITS
    flip_pairs(r, to);
#endif
}

INLINE void correct_bias(plane *p) {
    (void)p;
#ifdef PAIRS_IN_16_BITS
    EACH(i, 2) p->to.bias[i] = plus(p->to.bias[i], every_quad(p->flipped + i));
#endif
}

INLINE void take_ending(const ek_depthwise *op, int64_t q, plane *p) {
    const int64_t c = EK_QUAD * q;
    ending *to = &p->to;
    to->bias[0] = to->bias[1] = every_quad(op->bias + c);
    correct_bias(p);
    if (op->exact) {
        vector shift = every_quad(op->shift + c), none = every(0);
        to->multiplier = every_quad(op->multiplier + c);
        to->left = larger(shift, none);
        to->right = larger(minus(none, shift), none);
    } else {
        to->scale = every_quad_of_reals(op->scale + c);
        if (op->biased) to->zero_point = every_quad_of_reals(op->biased_zero_point + c);
    }
}
