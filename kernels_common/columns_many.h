// Matrix times several vectors with the weights of columns_f32, the body of columns_many_f32.c and columns_many_f16.c,
// which define T, a weight, and LOAD(p), ES_VL of them as floats. TOKENS x VECTORS sums stay in registers while DEPTH
// inputs pass; the weights of these inputs stay in the cache while all tokens do.
#ifndef ES_COLUMNS_MANY_H
#define ES_COLUMNS_MANY_H
#include "es.h"

#if ES_VL == 16  // 32 registers: 96% of the peak of a Zen 4 for 16 tokens, 6 x 4 81%
enum { TOKENS = 8, VECTORS = 3 };
#elif defined(__aarch64__)
enum { TOKENS = 6, VECTORS = 4 };
#else
enum { TOKENS = 6, VECTORS = 2 };
#endif
enum { DEPTH = 128, PIECE = 16, CHUNK = VECTORS * ES_VL, LINE = 64 / sizeof(T) };

// sum[t, 0..nv * ES_VL - 1] += sum_i x[t, i] w[i, ...] for nt tokens. ahead: weights to ask for meanwhile, or null.
ES_INLINE void block(const T *w, const T *ahead, const float *x, float *sum, int64_t depth, int64_t width,
                     int64_t x_pitch, int64_t sum_pitch, const int nt, const int nv) {
  vf s[TOKENS][PIECE > VECTORS ? PIECE : VECTORS];
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int i = 0; i < nv; i++) s[t][i] = load_vf(sum + t * sum_pitch + i * ES_VL);
  for (int64_t k = 0; k < depth; k++) {
    vf v[PIECE > VECTORS ? PIECE : VECTORS];
#pragma unroll
    for (int i = 0; i < nv; i++) v[i] = LOAD(w + k * width + i * ES_VL);
    if (ahead)
#pragma unroll
      for (int i = 0; i < nv * ES_VL; i += LINE) es_ask(ahead + k * width + i);
#pragma unroll
    for (int t = 0; t < nt; t++) {
      const vf f = splat_vf(x[t * x_pitch + k]);
#pragma unroll
      for (int i = 0; i < nv; i++) s[t][i] += v[i] * f;
    }
  }
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int i = 0; i < nv; i++) store_vf(sum + t * sum_pitch + i * ES_VL, s[t][i]);
}

ES_INLINE void all_tokens(const T *w, const T *ahead, const float *x, float *sum, int64_t tokens, int64_t depth,
                          int64_t width, int64_t x_pitch, int64_t sum_pitch, const int nv) {
  int64_t t = 0;
  for (; t + TOKENS <= tokens; t += TOKENS, ahead = 0)
    block(w, ahead, x + t * x_pitch, sum + t * sum_pitch, depth, width, x_pitch, sum_pitch, TOKENS, nv);
  for (; t + 2 <= tokens; t += 2, ahead = 0)
    block(w, ahead, x + t * x_pitch, sum + t * sum_pitch, depth, width, x_pitch, sum_pitch, 2, nv);
  if (t < tokens)
    block(w, ahead, x + t * x_pitch, sum + t * sum_pitch, depth, width, x_pitch, sum_pitch, 1, nv);
}

// The last outputs, fewer than 16: y has no room for whole vectors.
ES_INLINE void some_outputs(const T *w, const float *x, float *y, int64_t tokens, int64_t depth, int64_t width,
                            int64_t x_pitch, int64_t y_pitch, int64_t count) {
  for (int64_t t = 0; t < tokens; t++) {
    float sum[PIECE] = {0};
    for (int64_t o = 0; o < count; o++) sum[o] = y[t * y_pitch + o];
    block(w, 0, x + t * x_pitch, sum, depth, width, 0, 0, 1, PIECE / ES_VL);
    for (int64_t o = 0; o < count; o++) y[t * y_pitch + o] = sum[o];
  }
}

ES_INLINE void columns_many(const T *w, const float *bias, const float *x, float *y, int64_t tokens, int64_t x_pitch,
                            int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t tile, int64_t begin,
                            int64_t end) {
  for (int64_t t = begin; t < end; t++) {
    const int64_t from = t * tile, own = outputs - from < tile ? outputs - from : tile;
    const int64_t width = (own + PIECE - 1) / PIECE * PIECE, whole = own / PIECE * PIECE;
    for (int64_t k = 0; k < tokens; k++)
      for (int64_t o = 0; o < own; o++) y[k * y_pitch + from + o] = bias ? bias[from + o] : 0;
    for (int64_t i = 0; i < inputs; i += DEPTH) {
      const int64_t depth = inputs - i < DEPTH ? inputs - i : DEPTH;
      const T *at = w + from * inputs + i * width;
      const T *ahead = i + 2 * DEPTH <= inputs ? at + DEPTH * width : 0;  // the next inputs, if there are as many
      float *to = y + from;
      int64_t o = 0;
      for (; o + CHUNK <= whole; o += CHUNK)
        all_tokens(at + o, ahead ? ahead + o : 0, x + i, to + o, tokens, depth, width, x_pitch, y_pitch, VECTORS);
      for (; o < whole; o += PIECE)
        all_tokens(at + o, ahead ? ahead + o : 0, x + i, to + o, tokens, depth, width, x_pitch, y_pitch, PIECE / ES_VL);
      if (o < own) some_outputs(at + o, x + i, to + o, tokens, depth, width, x_pitch, y_pitch, own - o);
    }
  }
}
#endif
