// edgesparse-kernel: op=columns dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"

// ROWS rows are read side by side: as many as the first cache keeps where they are a power of 2 apart. There is no word
// for asking for more, and processors alone fetch less where rows are skipped: in node on a Zen 4, of every second row
// 13 GB/s (5632 bytes long) and 10 (2048), and 17 from a cache. Reading a byte ahead, of these rows or of the next, is
// no faster, mostly slower; runs of 4 rows, put aside as panels, half as fast; 4, 8 or 32 rows side by side are slower.
enum { BYTES = 16, ROWS = 16, MOST = 12288 };
#include "columns_place_qc8.h"

// d[0..3] += the products of two inputs with 16 outputs: 0, 2, 4, 6; 1, 3, 5, 7; 8, ..; 9, ..; 256 times as large.
ES_INLINE void add_two(vi4 *d, v128_t a, v128_t b, v128_t pair) {
  const v128_t low = ES_WORDS(a, b, 0), high = ES_WORDS(a, b, 4);
  d[0] = add_pairs(d[0], even256(low), pair), d[1] = add_pairs(d[1], odd256(low), pair);
  d[2] = add_pairs(d[2], even256(high), pair), d[3] = add_pairs(d[3], odd256(high), pair);
}

// Activations of ROWS entries. `words`: whether they are multiplied IN_WORDS, two by two, or as quads.
typedef struct { int32_t together[ROWS / 2], sum; } some;
ES_INLINE some prepare(const int8_t *q, const int words) {
  some s;
  s.sum = 0;
  if (words) {
#pragma unroll
    for (uint32_t h = 0; h < ROWS; h += 8) wasm_v128_store(s.together + h / 2, wasm_i16x8_load8x8(q + h));
  } else {
    wasm_v128_store(s.together, wasm_v128_load(q));
    for (int e = 0; e < ROWS; e++) s.sum += q[e];
  }
  ES_IN_ORDER();
  return s;
}

// sum[0..15] += the products of ROWS inputs with as many outputs
ES_INLINE void visit(
    float *sum, const uint8_t *const *row, int64_t at, const some *x, float by, way how, const int words) {
  vi4 d[4];
#ifdef __wasm_relaxed_simd__
  const v128_t flip = flip_of(how);
#else
  (void)how;
#endif
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) {
    d[v] = (vi4){0};
#ifdef __wasm_relaxed_simd__
    if (!words) d[v] = start_of(x->sum, how);
#endif
  }
#pragma unroll
  for (uint32_t e = 0; e < ROWS; e += words ? 2 : 4) {
    const v128_t q = wasm_v128_load32_splat(x->together + e / (words ? 2 : 4));
    if (words) add_two(d, wasm_v128_load(row[e] + at), wasm_v128_load(row[e + 1] + at), q);
#ifdef __wasm_relaxed_simd__
    else {
      v128_t four[4], quads[4];
#pragma unroll
      for (uint32_t i = 0; i < 4; i++) four[i] = wasm_v128_load(row[e + i] + at);
      interleave(quads, four);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++) d[v] = add_quads(d[v], quads[v], q, flip);
    }
#endif
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) ES_STAY(d[v]);
  }
#pragma unroll
  for (uint32_t v = 0; v < 4; v += 2) {
    const vf4 a = __builtin_convertvector(d[v], vf4), b = __builtin_convertvector(d[v + 1], vf4);
    const vf4 first = words ? __builtin_shufflevector(a, b, 0, 4, 1, 5) : a;
    const vf4 second = words ? __builtin_shufflevector(a, b, 2, 6, 3, 7) : b;
    float *to = sum + 4 * v;
    store4(to, load4(to) + first * by), store4(to + 4, load4(to + 4) + second * by);
  }
}

// Up to MOST outputs. y may be the bias.
ES_INLINE void columns_part(
    const uint8_t *w, const float *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, float *y, int64_t count, int64_t own, int64_t pitch, way how, const int words) {
  const uint8_t *row[ROWS];
  float sum[MOST];
  for (int64_t o = 0; o < (own + PIECE - 1) / PIECE * PIECE; o++) sum[o] = 0;
  for (int64_t first = 0; first < count; first += ROWS) {
    for (int64_t e = 0; e < ROWS; e++) {  // the last one again where there are no more: they are multiplied by 0
      const int64_t j = first + e < count ? first + e : count - 1;
      row[e] = w + (index ? index[j] : j) * pitch;
    }
    const some x = prepare(q + first, words);
    const float by = scale[first / ENTRIES] * (words ? 1.0f / 256 : 1);
    for (int64_t at = 0; at < own; at += PIECE) visit(sum + at, row, at, &x, by, how, words);
  }
#pragma clang loop vectorize(disable) unroll(disable)
  for (int64_t o = 0; o < own; o++) y[o] = sum[o] * wscale[o] + (bias ? bias[o] : 0);
}

ES_INLINE void columns_span(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                            const int8_t *q, const float *scale, float *y, int64_t count, int64_t own, int64_t pitch) {
  const way how = es_way();
  if (how == IN_WORDS) columns_part(w, wscale, bias, index, q, scale, y, count, own, pitch, how, 1);
  else columns_part(w, wscale, bias, index, q, scale, y, count, own, pitch, how, 0);
}

#include "columns_call_qc8.h"
