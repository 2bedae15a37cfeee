// Products of bytes on arm64, weights and activations -127..127. As in dot_qc8.h of x86, with vectors of 128 bits.
#ifndef ES_DOT_QC8_H
#define ES_DOT_QC8_H
#include <arm_neon.h>
#include "es.h"

enum { BYTES = 16, WIDE = 4 };
typedef int8x16_t V;
typedef vi4 I;
typedef vf4 F;
ES_INLINE V load_v(const uint8_t *p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
ES_INLINE V load_piece(const uint8_t *p) { return load_v(p); }
#define LOAD_F load4
#define STORE_F store4

typedef struct { const int8_t *q; int32_t start; } group;
ES_INLINE group prepare(const int8_t *q, int32_t sum) {
  (void)sum;
  return (group){q, 0};
}

#if defined(__ARM_FEATURE_DOTPROD)
ES_INLINE void interleave(V a, V b, V c, V d, V *quad) {
  const int16x8_t ab = vreinterpretq_s16_s8(vzip1q_s8(a, b)), ab_high = vreinterpretq_s16_s8(vzip2q_s8(a, b));
  const int16x8_t cd = vreinterpretq_s16_s8(vzip1q_s8(c, d)), cd_high = vreinterpretq_s16_s8(vzip2q_s8(c, d));
  quad[0] = vreinterpretq_s8_s16(vzip1q_s16(ab, cd)), quad[1] = vreinterpretq_s8_s16(vzip2q_s16(ab, cd));
  quad[2] = vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high));
  quad[3] = vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high));
}
ES_INLINE I dot(I sum, V quad, const group *g, int k) {
  int32_t q;
  __builtin_memcpy(&q, g->q + 4 * k, 4);
  return (I)vdotq_s32((int32x4_t)sum, quad, vreinterpretq_s8_s32(vdupq_n_s32(q)));
}
ES_INLINE void four(I *sum, V a, V b, V c, V d, const group *g, int k) {
  V quad[4];
  interleave(a, b, c, d, quad);
#pragma unroll
  for (int i = 0; i < 4; i++) sum[i] = dot(sum[i], quad[i], g, k);
}
#define ES_QUADS
enum { TOKENS = 3 };
#else
enum { TOKENS = 2 };

// Two products fit into 16 bits: 2 * 127 * 127 = 32258.
ES_INLINE void two(I *sum, V a, V b, const int8_t *q) {
  const V qa = vld1q_dup_s8(q), qb = vld1q_dup_s8(q + 1);
  const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(qa)), vget_low_s8(b), vget_low_s8(qb));
  const int16x8_t high = vmlal_high_s8(vmull_high_s8(a, qa), b, qb);
  sum[0] = (I)vaddw_s16((int32x4_t)sum[0], vget_low_s16(low)), sum[1] = (I)vaddw_high_s16((int32x4_t)sum[1], low);
  sum[2] = (I)vaddw_s16((int32x4_t)sum[2], vget_low_s16(high)), sum[3] = (I)vaddw_high_s16((int32x4_t)sum[3], high);
}
ES_INLINE void four(I *sum, V a, V b, V c, V d, const group *g, int k) {
  two(sum, a, b, g->q + 4 * k);
  two(sum, c, d, g->q + 4 * k + 2);
}

// Interleaved weights: sums of the first and of the last two inputs of quads, for outputs 0, 1 and 2, 3.
typedef struct { int32x4_t low, high; } sums;
ES_INLINE sums none(const group *g) {
  (void)g;
  return (sums){vdupq_n_s32(0), vdupq_n_s32(0)};
}
ES_INLINE sums pair(sums s, V a, V b, const group *g, int k) {
  int32_t first, second;
  __builtin_memcpy(&first, g->q + 4 * k, 4);
  __builtin_memcpy(&second, g->q + 4 * k + 4, 4);
  const V qa = vreinterpretq_s8_s32(vdupq_n_s32(first)), qb = vreinterpretq_s8_s32(vdupq_n_s32(second));
  const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(qa)), vget_low_s8(b), vget_low_s8(qb));
  s.low = vpadalq_s16(s.low, low);
  s.high = vpadalq_s16(s.high, vmlal_high_s8(vmull_high_s8(a, qa), b, qb));
  return s;
}
ES_INLINE I lanes(sums s) { return (I)vpaddq_s32(s.low, s.high); }
#endif

// 32 products of one output, in sums of neighbours.
typedef vi4 P;
typedef vf4 PF;
#define SUM_P es_sum4
ES_INLINE P products(const uint8_t *w, const int8_t *q) {
  const V a = load_v(w), b = load_v(w + 16), c = vld1q_s8(q), d = vld1q_s8(q + 16);
#if defined(__ARM_FEATURE_DOTPROD)
  return (P)vdotq_s32(vdotq_s32(vdupq_n_s32(0), a, c), b, d);
#else
  const int16x8_t low = vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(c)), a, c);
  const int16x8_t high = vmlal_high_s8(vmull_s8(vget_low_s8(b), vget_low_s8(d)), b, d);
  return (P)vpadalq_s16(vpaddlq_s16(low), high);
#endif
}
#endif
