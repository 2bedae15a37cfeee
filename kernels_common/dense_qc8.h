// Interleaved weights of 8 bits, for layers that need all of their inputs: panels of 16 outputs, in which the weights of
// 4 inputs for one output are neighbours, as dot products of quads of bytes read them. What includes it has included the
// dot_qc8.h of its folder, see columns_qc8.h; where that has no dot() of quads, it has
//
// none(group), pair(sums, a, b, group, k), lanes(sums): no sums yet; with the products of quads k and k+1 of a group; as
// those of LANES outputs.
#ifndef ES_DENSE_QC8_H
#define ES_DENSE_QC8_H

enum { ENTRIES = 32, PANEL = 16, LANES = BYTES / 4, VECTORS = PANEL / LANES, QUAD = 4 * PANEL, PART = ENTRIES * PANEL };

#ifdef ES_QUADS
typedef I sums;
ES_INLINE sums none(const group *g) { return (I){} + g->start; }
ES_INLINE sums pair(sums s, V a, V b, const group *g, int k) { return dot(dot(s, a, g, k), b, g, k + 1); }
ES_INLINE I lanes(sums s) { return s; }
#endif

// y[0..count-1] = sum * wscale + bias (may be null) of a panel. One piece of code, which rounds the same everywhere.
ES_INLINE void finish(float *y, const float *sum, const float *wscale, const float *bias, int64_t count) {
#pragma clang loop vectorize(disable) unroll(disable)
  for (int64_t o = 0; o < count; o++) y[o] = sum[o] * wscale[o] + (bias ? bias[o] : 0);
}
#endif
