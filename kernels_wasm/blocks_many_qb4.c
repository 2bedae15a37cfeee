// edgesparse-kernel: op=blocks_many dtype=qb4 isa=simd128,relaxed
#include "dot_qb4.h"

enum { AT_ONCE = 8 };  // tokens, for which a block is unpacked once

#ifdef __wasm_relaxed_simd__
enum { VECTORS = 4 };
static const float UNIT = 1;
// 16 inputs of 4 outputs
ES_INLINE void unpack(v128_t *u, const uint8_t *w) {
  const v128_t a = wasm_v128_load(w), b = wasm_v128_load(w + 16);
  u[0] = lower(a), u[1] = lower(b), u[2] = upper(a), u[3] = upper(b);
}
// sum_i (w[o, i] - 8) * q[i]; offset: -64 times the sum of q
ES_INLINE vi4 dot_block(const v128_t *u, const int8_t *q, int32_t offset, int halves) {
  const v128_t start = wasm_i32x4_splat(offset >> 3);
  v128_t s = sum_quads(halves ? wasm_i32x4_splat(0) : start, load_quad(q), u[0], halves);
  s = sum_quads(s, load_quad(q + 4), u[1], halves);
  s = sum_quads(s, load_quad(q + 8), u[2], halves);
  s = sum_quads(s, load_quad(q + 12), u[3], halves);
  return halves ? sums(s, halves) + (vi4)start : (vi4)s;
}
#else
enum { VECTORS = 8 };
static const float UNIT = 1.0f / 256;
ES_INLINE void unpack(v128_t *u, const uint8_t *w) {
#pragma unroll
  for (uint32_t i = 0; i < 2; i++) {
    const v128_t all = wasm_v128_load(w + 16 * i), low = wasm_i16x8_splat(15);
    u[i] = wasm_v128_and(all, low), u[2 + i] = wasm_v128_and(wasm_u16x8_shr(all, 4), low);
    u[4 + i] = wasm_v128_and(wasm_u16x8_shr(all, 8), low), u[6 + i] = wasm_u16x8_shr(all, 12);
  }
}
// the same, 256 times as large
ES_INLINE vi4 dot_block(const v128_t *u, const int8_t *q, int32_t offset, int halves) {
  (void)halves;
  v128_t s = wasm_i32x4_splat(32 * offset);
#pragma unroll
  for (uint32_t i = 0; i < 4; i++) {
    const v128_t x = load_quad(q + 4 * i);
    s = sum_quads(s, even256(x), u[i], 0);
    s = sum_quads(s, odd256(x), u[4 + i], 0);
  }
  return (vi4)s;
}
#endif

// Blocks first..last-1, which are those of 4 outputs; `count` of these are stored.
ES_INLINE void some(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, int32_t first, int32_t last, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int32_t tokens, int32_t q_pitch,
    int64_t y_pitch, int64_t count, int halves) {
  vf4 f[AT_ONCE];
  for (int32_t t = 0; t < tokens; t++) f[t] = splat4(0);
  w += 32 * (size_t)first, wscale += 4 * (size_t)first;
  for (int32_t b = first; b < last; b++, w += 32, wscale += 4) {
    v128_t u[VECTORS];
    unpack(u, w);
#pragma unroll
    for (int v = 0; v < VECTORS; v++) ES_STAY(u[v]);
    const vf4 by = scales4(wscale, UNIT);
    const uint32_t c = column[b];
    const int8_t *x = q + 16 * c;
    const float *s = scale + c;
    const int32_t *o = offset + c;
    vf4 *to = f;
#pragma unroll 1
    for (vf4 *end = f + tokens; to != end; to++, x += q_pitch, s += q_pitch / 16, o += q_pitch / 16) {
      ES_STAY(to);
      ES_STAY(x);
      *to += to_float(dot_block(u, x, *o, halves)) * (by * *s);
    }
  }
  for (int32_t t = 0; t < tokens; t++) store_outputs(y + t * y_pitch, f[t], bias, count);
}

// As in kernels_common/blocks_many_qb4.c.
void ES_KERNEL(blocks_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, const int32_t *start, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t tokens, int64_t q_pitch,
    int64_t y_pitch, int64_t outputs, int64_t begin, int64_t end) {
  const int32_t pitch = (int32_t)q_pitch, halves = es_halves();
  for (int64_t g = begin; g < end; g++) {
    const int32_t first = start[g], last = start[g + 1];
    const int64_t left = outputs - 4 * g;
    const float *of = bias ? bias + 4 * g : 0;
    for (int64_t t = 0; t < tokens; t += AT_ONCE) {
      const int32_t n = tokens - t < AT_ONCE ? (int32_t)(tokens - t) : AT_ONCE;
      const int64_t at = t * (pitch / 16);
      const int8_t *x = q + t * pitch;
      float *to = y + t * y_pitch + 4 * g;
      if (halves)
        some(w, wscale, column, first, last, of, x, scale + at, offset + at, to, n, pitch, y_pitch, left, 1);
      else some(w, wscale, column, first, last, of, x, scale + at, offset + at, to, n, pitch, y_pitch, left, 0);
    }
  }
}
