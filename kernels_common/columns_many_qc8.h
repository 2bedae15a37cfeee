// The body of columns_many_qc8, for every instruction set. What includes it has included the dot_qc8.h of its folder,
// see columns_qc8.h. The weights of GROUPS x 32 inputs stay in the first cache while all tokens pass, and those of a
// tile in the second; the next ones are asked for meanwhile. Where there are dot products of quads of bytes
// (ES_QUADS), weights are brought into that order once for all tokens. Sums lie in y, in the order in which lanes hold
// them, until all inputs have been added.
#ifndef ES_COLUMNS_MANY_QC8_H
#define ES_COLUMNS_MANY_QC8_H
#include "columns_place_qc8.h"

enum { ENTRIES = 32, LANES = BYTES / 4, GROUPS = 8, SLAB = 16, QUADS = ENTRIES / 4 };

// Weights of up to GROUPS x 32 inputs for BYTES outputs. Inputs behind the last one are multiplied by 0.
#ifdef ES_QUADS
typedef struct { V quad[GROUPS][QUADS][4]; } weights;
#else
typedef struct { V row[GROUPS][ENTRIES]; } weights;
#endif

ES_INLINE void bring(weights *to, const uint8_t *w, int64_t inputs, int64_t left, int64_t width, const int whole) {
  for (int64_t g = 0; g * ENTRIES < inputs; g++)
    for (int64_t k = 0; k < QUADS; k++) {
      V v[4];
#pragma unroll
      for (int64_t e = 0; e < 4; e++) {
        const int64_t i = g * ENTRIES + 4 * k + e;
        const uint8_t *at = w + (i < inputs ? i : inputs - 1) * width;
        v[e] = whole ? load_v(at) : load_piece(at);
        es_ask(i + GROUPS * ENTRIES < left ? at + GROUPS * ENTRIES * width : at);
      }
#ifdef ES_QUADS
      interleave(v[0], v[1], v[2], v[3], to->quad[g][k]);
#else
#pragma unroll
      for (int e = 0; e < 4; e++) to->row[g][4 * k + e] = v[e];
#endif
    }
}

// sum[t, ...] += the products of some groups, for `nt` tokens.
ES_INLINE void multiply(float *sum, int64_t pitch, const weights *w, const int8_t *q, const float *scale,
                        const int32_t *total, int64_t groups, int64_t q_pitch, const int nt) {
  F f[TOKENS][4];
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) f[t][i] = LOAD_F(sum + t * pitch + i * LANES);
  for (int64_t g = 0; g < groups; g++) {
    I s[TOKENS][4];
    group p[TOKENS];
#pragma unroll
    for (int t = 0; t < nt; t++) {
      p[t] = prepare(q + t * q_pitch + g * ENTRIES, total[t * q_pitch / ENTRIES + g]);
#pragma unroll
      for (int i = 0; i < 4; i++) s[t][i] = (I){} + p[t].start;
    }
#pragma clang loop unroll(disable)
    for (int k = 0; k < QUADS; k++)
#pragma unroll
      for (int t = 0; t < nt; t++)
#ifdef ES_QUADS
#pragma unroll
        for (int i = 0; i < 4; i++) s[t][i] = dot(s[t][i], w->quad[g][k][i], &p[t], k);
#else
        four(s[t], w->row[g][4 * k], w->row[g][4 * k + 1], w->row[g][4 * k + 2], w->row[g][4 * k + 3], &p[t], k);
#endif
#pragma unroll
    for (int t = 0; t < nt; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) f[t][i] += __builtin_convertvector(s[t][i], F) * scale[t * q_pitch / ENTRIES + g];
  }
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) STORE_F(sum + t * pitch + i * LANES, f[t][i]);
}

// sum[t, ...] += those of up to GROUPS x 32 inputs from i on, for all tokens.
ES_INLINE void add(float *sum, int64_t pitch, const uint8_t *w, const int8_t *q, const float *scale,
                   const int32_t *total, int64_t tokens, int64_t q_pitch, int64_t inputs, int64_t i, int64_t width,
                   const int whole) {
  weights some;
  const int64_t left = inputs - i, count = left < GROUPS * ENTRIES ? left : GROUPS * ENTRIES;
  const int64_t groups = (count + ENTRIES - 1) / ENTRIES;
  bring(&some, w + i * width, count, left, width, whole);
  int64_t t = 0;
  for (; t + TOKENS <= tokens; t += TOKENS) {
    const int64_t at = (t * q_pitch + i) / ENTRIES;
    multiply(sum + t * pitch, pitch, &some, q + t * q_pitch + i, scale + at, total + at, groups, q_pitch, TOKENS);
  }
  for (; t < tokens; t++) {
    const int64_t at = (t * q_pitch + i) / ENTRIES;
    multiply(sum + t * pitch, pitch, &some, q + t * q_pitch + i, scale + at, total + at, groups, q_pitch, 1);
  }
}

// The last outputs, up to 16, for up to SLAB tokens.
ES_INLINE void piece(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale,
                     const int32_t *total, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs,
                     int64_t width, int64_t own) {
  float sum[SLAB][BYTES];
  for (int64_t t = 0; t < tokens; t++)
    for (int i = 0; i < BYTES; i++) sum[t][i] = 0;
  for (int64_t i = 0; i < inputs; i += GROUPS * ENTRIES)
    add(sum[0], BYTES, w, q, scale, total, tokens, q_pitch, inputs, i, width, 0);
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t o = 0; o < own; o++)
      y[t * y_pitch + o] = sum[t][o / 4 * LANES + o % 4] * wscale[o] + (bias ? bias[o] : 0);
}

// y[t, o] = bias[o] + wscale[o] sum_g scale[t, g] sum_i w[o, i] q[t, i] over the inputs i of group g, all inputs.
// q: (tokens, q_pitch), a multiple of 32; scale, sum: (tokens, q_pitch / 32); y: (tokens, y_pitch); w, wscale and bias
// as those of columns_qc8. Tiles begin..end-1 are computed, ceil(outputs / tile) in all.
void ES_KERNEL(columns_many_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q,
                                 const float *scale, const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch,
                                 int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t tile, int64_t begin,
                                 int64_t end) {
  for (int64_t t = begin; t < end; t++) {
    const span place = find_span(outputs, tile, t, t + 1);
    const int64_t from = place.from, own = place.own, width = row_bytes(outputs), whole = own / BYTES * BYTES;
    const uint8_t *all = w + from;
    float *to = y + from;
    for (int64_t k = 0; k < tokens; k++)
      for (int64_t o = 0; o < whole; o++) to[k * y_pitch + o] = 0;
    for (int64_t i = 0; i < inputs; i += GROUPS * ENTRIES)
      for (int64_t o = 0; o < whole; o += BYTES)
        add(to + o, y_pitch, all + o, q, scale, sum, tokens, q_pitch, inputs, i, width, 1);
    for (int64_t k = 0; k < tokens; k++)
      for (int64_t o = 0; o < whole; o += BYTES)
        finish(to + k * y_pitch + o, to + k * y_pitch + o, wscale + from + o, bias ? bias + from + o : 0);
    for (int64_t o = whole; o < own; o += PIECE)
      for (int64_t k = 0; k < tokens; k += SLAB) {
        const int64_t at = k * q_pitch / ENTRIES;
        piece(all + o, wscale + from + o, bias ? bias + from + o : 0, q + k * q_pitch, scale + at, sum + at,
              to + k * y_pitch + o, tokens - k < SLAB ? tokens - k : SLAB, q_pitch, y_pitch, inputs, width,
              own - o < PIECE ? own - o : PIECE);
      }
  }
}
#endif
