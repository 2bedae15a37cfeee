// edgesparse-kernel: op=columns dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
//
// The rows of a block's entries are read side by side, 128 outputs (a line of the cache) at a time, while the next
// block's are asked for, row after row. On a Zen 4 with large pages that reads 25 GB/s of rows of 5.6 kB, half of them
// skipped, and 17 of rows of 1 kB; asked for side by side, 22 and 16. Nothing was gained by asking earlier, in another
// order, or for a part of the lines. Sums lie in the caches between two blocks.
#include "columns_qb4.h"

enum {
  MOST = 12288,         // outputs at a time
  ROWS = 4 * ES_QUADS,  // entries whose products fit the sums
  SCALES_AHEAD = 1024,  // outputs
  LARGE = 1 << 20,      // bytes of a matrix
};

typedef struct {
  const uint8_t *w;
  const uint16_t *wscale;
  const int32_t *index, *start;
  const int8_t *q;
  const float *scale;
  const int32_t *sum;
  int64_t width, groups, wide, large;
} es_columns;

// Entries j..j+count-1, which belong to group g; none with count 0.
typedef struct {
  const uint8_t *row[ROWS];
  const uint16_t *wscale;
  const int8_t *q;
  int64_t count, g, j;
  int32_t sum;  // of all q of the group, 0 but for its first part
  float scale;
} es_part;

// The part behind p.
ES_INLINE void follow(const es_columns *c, const es_part *p, es_part *next) {
  int64_t g = p->g, j = p->j + p->count;
  int32_t first = 0;
  next->count = 0, next->wscale = p->wscale;
  for (;;) {
    const int64_t last = g < 0 ? 0 : c->index ? c->start[g + 1] : 32 * g + 32;
    if (j < last) {
      next->count = last - j < ROWS ? last - j : ROWS;
      for (int64_t i = 0; i < next->count; i++) next->row[i] = c->w + (c->index ? c->index[j + i] : j + i) * c->width / 2;
      next->wscale = c->wscale + (g >> c->wide) * c->width, next->q = c->q + j;
      next->g = g, next->j = j;
      next->sum = first ? c->sum[g] : 0, next->scale = c->scale[g];
      return;
    }
    if (++g >= c->groups) return;
    first = 1;
  }
}

// What is still to be asked for: from `at` on to the end of a row, then other rows.
typedef struct { const uint8_t *at, *end, *const *row, *const *last; int64_t bytes, large; } es_asked;
ES_INLINE es_asked all_of(const es_part *p, int64_t bytes, int64_t large) {
  const uint8_t *at = p->count ? p->row[0] : 0;
  return (es_asked){at, at + bytes, p->row, p->row + p->count, bytes, large};
}

// Two lines. Not as fast as can be: a core waits for few lines of memory at a time, and those in the second cache have
// to come after them. If each two are asked for 20 cycles after those before, all inputs are read with 26 GB/s instead
// of 19. Matrices that stay in a cache are not large.
ES_INLINE void ask_two(es_asked *a) {
  if (a->row == a->last) return;
#if ES_VL == 16
  for (int i = 0; i < 6 && a->large; i++) __asm__ volatile("imul $1, %0, %0" : "+r"(a->at));
#endif
  es_ask(a->at);
  es_ask(a->at + 64);
  a->at += 128;
  if (a->at >= a->end && ++a->row < a->last) a->at = *a->row, a->end = a->at + a->bytes;
}

// f[0..127] += what p adds to outputs o..o+127. As many lines are asked for as rows are read: where that takes one pass,
// in between.
ES_INLINE void strip(float *f, const es_part *p, int64_t o, es_asked *ahead, int64_t lines) {
  int64_t asked = 0;
  for (; ES_PARTS > 1 && asked < lines; asked += 2) ask_two(ahead);
#pragma unroll 4
  for (int m = 0; m < ES_PARTS; m++) {
    es_sums s = no_sums(p->sum);
    const int64_t at = o / 2 + 4 * ES_VL * m;
    for (int64_t j = 0; j < p->count; j += 4) {
      for (int i = 0; i < 2 && asked < lines; i++, asked += 2) ask_two(ahead);
      add_quad(&s, p->row + j, at, p->q + j);
    }
    for (; asked < lines; asked += 2) ask_two(ahead);
    for (int k = 0; k < 4; k++) {
      const int first = es_output(k, m);
      const uint16_t *of = p->wscale + o + first;
      float *to = f + first;
      store_vf(to, load_vf(to) + to_float(low_sum(&s, k, p->sum)) * (half_vf(of) * p->scale));
      const vf high = to_float(high_sum(&s, k, p->sum));
      store_vf(to + 64, load_vf(to + 64) + high * (half_vf(of + 64) * (p->scale / (1 << ES_HIGH))));
    }
  }
}

// f[0..some-1] = those outputs without a bias.
ES_INLINE void columns_span(const es_columns *c, float *f, int64_t some) {
  const int64_t early = some < SCALES_AHEAD ? some : SCALES_AHEAD;
  es_part parts[2];
  parts[0].count = 0, parts[0].g = -1, parts[0].j = 0, parts[0].wscale = c->wscale;
  follow(c, &parts[0], &parts[1]);
  es_zero(f, some);
  for (int b = 1; parts[b].count; b ^= 1) {
    const es_part *p = &parts[b], *next = &parts[b ^ 1];
    follow(c, p, &parts[b ^ 1]);
    es_asked ahead = all_of(next, some / 2, c->large);
    for (int64_t o = 0; o < some; o += 128) {
      const uint16_t *scales = o + early < some ? p->wscale + o + early : next->wscale + o + early - some;
      for (int i = 0; i < 128; i += 32) es_ask(scales + i);
      strip(f + o, p, o, &ahead, next->count);
    }
  }
}

// y[o] = bias[o] + sum_j w[o, index[j]] * x[j], strips begin..end-1 of 128 outputs.
//
// w: (inputs, outputs / 2), the former rounded up to 32, the latter to 128; columns_qb4.h says how outputs lie. wscale:
// (inputs / block, outputs), rounded up. Entries start[b]..start[b+1]-1, a multiple of 4, are of block b (32 or 64
// inputs): x = scale[b] * q, sum[b] the sum of q. Without index and start entry j is input j, in groups of 32.
// bias: (outputs), or null. y: (outputs).
void ES_KERNEL(columns_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int32_t *start,
    const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block,
    int64_t begin, int64_t end) {
  const int64_t width = (outputs + 127) / 128 * 128, group = index ? block : 32, groups = (inputs + group - 1) / group;
  const int64_t wide = !index && block == 64, strips = end - begin, turns = (128 * strips + MOST - 1) / MOST;
  const int64_t large = inputs * width / 2 >= LARGE;
  for (int64_t turn = 0; turn < turns; turn++) {
    const int64_t from = 128 * (begin + strips * turn / turns);
    const int64_t some = 128 * (begin + strips * (turn + 1) / turns) - from;
    const es_columns c = {w + from / 2, wscale + from, index, start, q, scale, sum, width, groups, wide, large};
    _Alignas(64) float f[MOST];
    columns_span(&c, f, some);
    const int64_t left = outputs - from, count = left < some ? left : some;
    for (int64_t i = 0; i < count; i += ES_VL)
      store_outputs(y + from + i, load_vf(f + i), bias ? bias + from + i : 0, count - i);
  }
}
