// edgesparse-kernel: op=rope dtype=f32 isa=any
#include "es.h"

ES_INLINE void turn(const float *x, float *y, int64_t a, int64_t b, float c, float s) {
  const float p = x[a], r = x[b];
  y[a] = p * c - r * s, y[b] = r * c + p * s;
}

// Rotary positions ("RoFormer: Enhanced Transformer with Rotary Position Embedding") of one token: each pair of a head
// turns by an angle, (a cos - b sin, b cos + a sin). Pairs are neighbours where `interleaved`, else i and
// i + rotary / 2. x, y: (heads, head_dim), y may be x; cosine, sine: (rotary / 2,); what lies behind `rotary`, which is
// even, is copied.
// Heads begin..end-1 are computed.
void ES_KERNEL(rope_f32)(const float *x, const float *cosine, const float *sine, float *y, int64_t begin, int64_t end,
                         int64_t head_dim, int64_t rotary, int64_t interleaved) {
  const int64_t half = rotary / 2;
  for (int64_t head = begin; head < end; head++) {
    const float *from = x + head * head_dim;
    float *to = y + head * head_dim;
    if (interleaved) {
      for (int64_t i = 0; i < half; i++) turn(from, to, 2 * i, 2 * i + 1, cosine[i], sine[i]);
    } else {
      int64_t i = 0;
      for (; i + ES_VL <= half; i += ES_VL) {
        const vf a = load_vf(from + i), b = load_vf(from + half + i), c = load_vf(cosine + i), s = load_vf(sine + i);
        store_vf(to + i, a * c - b * s);
        store_vf(to + half + i, b * c + a * s);
      }
      for (; i < half; i++) turn(from, to, i, half + i, cosine[i], sine[i]);
    }
    for (int64_t i = rotary; i < head_dim; i++) to[i] = from[i];
  }
}
