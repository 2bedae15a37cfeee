// edgesparse-kernel: op=columns_many dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "columns_qb4.h"

enum { AT_ONCE = 32 };  // tokens, for which weights are interleaved once

// u[v][k] = quad k of 32 inputs of outputs ES_VL * v..: 32 rows of 64 bytes, `pitch` bytes apart.
ES_INLINE void tiles(const uint8_t *w, int64_t pitch, vb u[128 / ES_VL][8]) {
  for (int64_t i = 0; i < 32; i += 4)
    for (int m = 0; m < ES_PARTS; m++) {
      const uint8_t *at = w + i * pitch + 4 * ES_VL * m;
      for (int r = 0; r < 4 && m == 0; r++) __builtin_prefetch(at + (32 + r) * pitch, 0, 2);  // the next 32 rows
      vb v[4];
      interleave(load_vb(at), load_vb(at + pitch), load_vb(at + 2 * pitch), load_vb(at + 3 * pitch), v);
      for (int k = 0; k < 4; k++) {
        u[es_output(k, m) / ES_VL][i / 4] = low_nibbles(v[k]);
        u[(64 + es_output(k, m)) / ES_VL][i / 4] = v[k] >> 4;
      }
    }
}

// columns_qb4 without index for several tokens: token t has q + t * q_pitch (a multiple of 32), scale and sum
// + t * q_pitch / 32, and y + t * y_pitch.
void ES_KERNEL(columns_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs,
    int64_t block, int64_t begin, int64_t end) {
  const int64_t groups = (inputs + 31) / 32, wide = block == 64;
  const int64_t width = (outputs + 127) / 128 * 128;
  for (int64_t first = 0; first < tokens; first += AT_ONCE) {
    const int64_t some = tokens - first < AT_ONCE ? tokens - first : AT_ONCE;
    for (int64_t o = 128 * begin; o < 128 * end; o += 128) {
      const uint8_t *at = w + o / 2;
      const uint16_t *of = wscale + o;
      vf f[128 / ES_VL][AT_ONCE] = {};
      for (int64_t g = 0; g < groups; g++) {
        vb u[128 / ES_VL][8];
        tiles(at + 32 * g * (width / 2), width / 2, u);
        for (int64_t v = 0; v < 128 / ES_VL; v++) {
          const vf s = half_vf(of + (g >> wide) * width + ES_VL * v);
          for (int64_t j = 0; j < some;) {
            const int64_t many = some - j >= ES_TOKENS ? ES_TOKENS : 1, gt = (first + j) * (q_pitch / 32) + g;
            const int8_t *x = q + (first + j) * q_pitch + 32 * g;
            if (many > 1) add_tile(f[v] + j, u[v], s, x, scale + gt, sum + gt, q_pitch, ES_TOKENS);
            else add_tile(f[v] + j, u[v], s, x, scale + gt, sum + gt, q_pitch, 1);
            j += many;
          }
        }
      }
      for (int64_t v = 0; v < 128 / ES_VL; v++)
        for (int64_t j = 0; j < some; j++) {
          const int64_t from = o + ES_VL * v;
          store_outputs(y + (first + j) * y_pitch + from, f[v][j], bias ? bias + from : 0, outputs - from);
        }
    }
  }
}
