// Blocks of 4 outputs x 16 inputs: 32 bytes, those of output o at 4o and at 16+4o. Byte r of the former holds inputs r
// and (upper nibble) 8+r, of the latter inputs 4+r and 12+r.
#ifndef ES_BLOCKS_QB4_H
#define ES_BLOCKS_QB4_H
#if ES_VL == 16  // a block has 8 lanes
#undef ES_VL
#define ES_VL 8
#endif
#include "qb4.h"

// A block is ES_SIDE vectors of outputs times ES_STEPS of inputs; 8 lanes are both halves of the inputs.
enum { ES_SIDE = ES_VL == 1 ? 4 : 1, ES_STEPS = ES_VL == 8 ? 1 : 2 };

typedef int64_t i64_unaligned __attribute__((aligned(1)));
typedef int32_t vi4_unaligned __attribute__((vector_size(16), aligned(1)));

typedef struct { vb low[ES_SIDE][ES_STEPS], high[ES_SIDE][ES_STEPS]; vf scale[ES_SIDE]; } es_block;

ES_INLINE es_block load_block(const uint8_t *w, const uint16_t *wscale) {
  es_block b;
  for (int v = 0; v < ES_SIDE; v++) {
    for (int i = 0; i < ES_STEPS; i++) {
      const vb both = load_vb(w + 4 * v + 16 * i);
      b.low[v][i] = low_nibbles(both), b.high[v][i] = high_nibbles(both);
    }
#if ES_VL == 8
    b.scale[v] = (vf)_mm256_cvtph_ps(_mm_set1_epi64x(*(const i64_unaligned *)wscale));
#else
    b.scale[v] = half_vf(wscale + v);
#endif
  }
  return b;
}

// f[v] += scale * wscale * (w - 8) . q of 16 inputs; offset is -64 times the sum of q, so that it can be what a sum of
// upper nibbles starts from, in each half
ES_INLINE void add_block(vf *f, const es_block *b, const int8_t *q, float scale, int32_t offset) {
#if ES_VL == 8
  const vi4 x = *(const vi4_unaligned *)q;
  const vb low[] = {(vb)__builtin_shufflevector(x, x, 0, 0, 0, 0, 1, 1, 1, 1)};
  const vb high[] = {(vb)__builtin_shufflevector(x, x, 2, 2, 2, 2, 3, 3, 3, 3)};
#else
  const vb low[] = {splat_quad(q), splat_quad(q + 4)}, high[] = {splat_quad(q + 8), splat_quad(q + 12)};
#endif
  for (int v = 0; v < ES_SIDE; v++) {
#if ES_HIGH
    vs s = dot(splat_vi(offset), b->high[v][0], high[0]) >> ES_HIGH;
    f[v] += to_float(dot(s, b->low[v][0], low[0])) * (b->scale[v] * scale);
#else
    vs s = {0};
    for (int i = 0; i < ES_STEPS; i++) s = dot(dot(s, b->low[v][i], low[i]), b->high[v][i], high[i]);
    f[v] += to_float(lanes(s) + splat_vi(offset / (ES_VL == 8 ? 16 : 8))) * (b->scale[v] * scale);
#endif
  }
}

// y[0..count-1] = the 4 outputs in f, and bias
ES_INLINE void store_block(float *y, const vf *f, const float *bias, int64_t count) {
  for (int64_t o = 0; o < 4 && o < count; o++) {
    float total = ES_VL == 1 ? f[o % ES_SIDE][0] : f[0][o % ES_VL];
    if (ES_VL == 8) total += f[0][(o + 4) % ES_VL];
    y[o] = bias ? total + bias[o] : total;
  }
}
#endif
