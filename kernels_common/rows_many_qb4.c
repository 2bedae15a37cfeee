// edgesparse-kernel: op=rows_many dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "qb4.h"

enum { AT_ONCE = 32 };  // tokens, for which weights are turned over once

// rows_qb4 without index for several tokens: token t has q + t * q_pitch (a multiple of 32), scale and sum
// + t * q_pitch / 32, and y + t * y_pitch.
void ES_KERNEL(rows_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t block,
    int64_t begin, int64_t end) {
  const int64_t groups = (inputs + 31) / 32, units = (groups + 3) / 4, per = 128 / block;
  for (int64_t first = 0; first < tokens; first += AT_ONCE) {
    const int64_t some = tokens - first < AT_ONCE ? tokens - first : AT_ONCE;
    for (int64_t from = begin; from < end; from += ES_VL) {
      const int64_t count = end - from < ES_VL ? end - from : ES_VL;
      vf f[AT_ONCE] = {};
      for (int64_t i = 0; i < units; i++) {
        vi words[16];  // 64 bytes of each output, turned over: 4 bytes an output
        for (int64_t o = 0; o < ES_VL; o++) {
          const uint8_t *row = w + ((from + (o < count ? o : 0)) * units + i) * 64;
          __builtin_prefetch(row + 256);
          for (int k = 0; k < 16; k++) ((int32_t *)&words[k])[o] = *(const i32_unaligned *)(row + 4 * k);
        }
        for (int64_t g = 0; g < 4 && 4 * i + g < groups; g++) {
          vb u[8];
          for (int k = 0; k < 8; k++) {
            const vb both = (vb)words[8 * (g % 2) + k];
            u[k] = g < 2 ? low_nibbles(both) : both >> 4;
          }
          float s[ES_VL];
          for (int64_t o = 0; o < ES_VL; o++)
            s[o] = half1(wscale + ((from + (o < count ? o : 0)) * units + i) * per + g * 32 / block);
          const vf by = load_vf(s);
          for (int64_t t = 0; t < some;) {
            const int64_t many = some - t >= ES_TOKENS ? ES_TOKENS : 1, at = (first + t) * (q_pitch / 32) + 4 * i + g;
            const int8_t *x = q + (first + t) * q_pitch + 32 * (4 * i + g);
            if (many > 1) add_tile(f + t, u, by, x, scale + at, sum + at, q_pitch, ES_TOKENS);
            else add_tile(f + t, u, by, x, scale + at, sum + at, q_pitch, 1);
            t += many;
          }
        }
      }
      for (int64_t t = 0; t < some; t++)
        store_outputs(y + (first + t) * y_pitch + from, f[t], bias ? bias + from : 0, count);
    }
  }
}
