// edgesparse-kernel: op=dense_many dtype=qb4 isa=simd128,relaxed
#include "dot_qb4.h"

enum { AT_ONCE = 32 };  // tokens, for which weights are unpacked once

// 32 inputs of 16 outputs, unpacked: 4 vectors (of 4 outputs) for each quad of activations.
#ifdef __wasm_relaxed_simd__
enum { QUADS = 8 };
ES_INLINE void unpack(v128_t *u, const uint8_t *w) {
#pragma unroll 1
  for (const v128_t *end = u + 16; u != end; u += 4, w += 64)
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      const v128_t both = wasm_v128_load(w + 16 * v);
      u[v] = lower(both), u[16 + v] = upper(both);
    }
}
// Where the activations of `tokens` tokens are, and how far apart.
ES_INLINE const es_quad *ready(es_quad *room, const int8_t *q, int32_t *pitch, int32_t tokens) {
  (void)room, (void)pitch, (void)tokens;
  return q;
}
#else
enum { QUADS = 16 };
ES_INLINE void unpack(v128_t *u, const uint8_t *w) {
  const v128_t low = wasm_i16x8_splat(15);
#pragma unroll 1
  for (const v128_t *end = u + 16; u != end; u += 4, w += 64)
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      const v128_t all = wasm_v128_load(w + 16 * v);
      u[v] = wasm_v128_and(all, low), u[16 + v] = wasm_v128_and(wasm_u16x8_shr(all, 8), low);
      u[32 + v] = wasm_v128_and(wasm_u16x8_shr(all, 4), low), u[48 + v] = wasm_u16x8_shr(all, 12);
    }
}
ES_INLINE const es_quad *ready(es_quad *room, const int8_t *q, int32_t *pitch, int32_t tokens) {
  es_quad *to = room;
  for (int32_t t = 0; t < tokens; t++, q += *pitch, to += 4 * QUADS)
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
      const v128_t some = wasm_v128_load(q + 16 * h);
      wasm_v128_store(to + 32 * h, even1(some));
      wasm_v128_store(to + 32 * h + 16, odd1(some));
    }
  ES_IN_ORDER();
  *pitch = 4 * QUADS;
  return room;
}
#endif

// f[t] += the products of 32 inputs with 16 outputs for tokens t, two at a time; f has room for one more.
ES_INLINE void add_group(
    vf4 (*f)[4], const uint8_t *w, const uint16_t *wscale, const int8_t *q, const float *scale, const int32_t *sum,
    int32_t q_pitch, int32_t tokens, int halves) {
  const int32_t groups = q_pitch / 32;
  v128_t u[4 * QUADS];
  es_quad room[AT_ONCE * 4 * QUADS];
  unpack(u, w);
  vf4 by[4];
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) by[v] = scales4(wscale + 4 * v, 1);
  const es_quad *x = ready(room, q, &q_pitch, tokens);
  for (int32_t t = 0; t < tokens; t += 2, x += 2 * q_pitch, scale += 2 * groups, sum += 2 * groups, f += 2) {
    const int32_t more = tokens - t > 1, other = more ? q_pitch : 0;  // the last one alone: twice, once to nowhere
    v128_t s[2][4];
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) s[0][v] = s[1][v] = wasm_i32x4_splat(0);
    const es_quad *at = x;
#pragma unroll 1
    for (const v128_t *j = u, *end = u + 4 * QUADS; j != end; j += 4, at += 4) {
      ES_STAY(j);
      ES_STAY(at);
      const v128_t one = load_quad(at), two = load_quad(at + other);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++) {
        const v128_t weights = wasm_v128_load(j + v);
        s[0][v] = sum_quads(s[0][v], one, weights, halves);
        s[1][v] = sum_quads(s[1][v], two, weights, halves);
        ES_STAY(s[0][v]);
        ES_STAY(s[1][v]);
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
      const int32_t g = i && more ? groups : 0;
      const vi4 less = splat_vi(8 * sum[g]);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++) f[i][v] += to_float(sums(s[i][v], halves) - less) * (by[v] * scale[g]);
    }
  }
}

ES_INLINE void panels(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int32_t tokens, int32_t q_pitch, int64_t y_pitch, int32_t groups, int64_t outputs,
    int64_t block, int64_t begin, int64_t end, int halves) {
  const int32_t wide = block == 64, blocks = wide ? (groups + 1) / 2 : groups;
  w += (size_t)begin * groups * GROUP_BYTES, wscale += (size_t)begin * blocks * 16;
  for (int64_t o = 16 * begin; o < 16 * end; o += 16, wscale += 16 * blocks) {
    vf4 f[AT_ONCE + 1][4];
    for (int32_t t = 0; t <= tokens; t++)
      for (int v = 0; v < 4; v++) f[t][v] = splat4(0);
    for (int32_t g = 0; g < groups; g++, w += GROUP_BYTES)
      add_group(f, w, wscale + 16 * (g >> wide), q + 32 * g, scale + g, sum + g, q_pitch, tokens, halves);
    for (int32_t t = 0; t < tokens; t++)
      for (int v = 0; v < 4; v++)
        store_outputs(y + t * y_pitch + o + 4 * v, f[t][v], bias ? bias + o + 4 * v : 0, outputs - o - 4 * v);
  }
}

// As in kernels_common/dense_many_qb4.c.
void ES_KERNEL(dense_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs,
    int64_t block, int64_t begin, int64_t end) {
  const int32_t groups = (int32_t)((inputs + 31) / 32), pitch = (int32_t)q_pitch, halves = es_halves();
  for (; tokens > 0; tokens -= AT_ONCE) {
    const int32_t some = tokens < AT_ONCE ? (int32_t)tokens : AT_ONCE;
    if (halves) panels(w, wscale, bias, q, scale, sum, y, some, pitch, y_pitch, groups, outputs, block, begin, end, 1);
    else panels(w, wscale, bias, q, scale, sum, y, some, pitch, y_pitch, groups, outputs, block, begin, end, 0);
    q += AT_ONCE * pitch, scale += AT_ONCE * pitch / 32, sum += AT_ONCE * pitch / 32, y += AT_ONCE * y_pitch;
  }
}
