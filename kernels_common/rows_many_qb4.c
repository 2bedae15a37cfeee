// edgesparse-kernel: op=rows_many dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "qb4.h"

// ES_VL outputs from `row` on, or the `count` of them that there are, for `tokens` tokens (a constant).
ES_INLINE void some(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t groups, int64_t block,
    int64_t count) {
  const int64_t units = (groups + 3) / 4, per = 128 / block;
  vf f[ES_TOKENS] = {};
  for (int64_t i = 0; i < units; i++) {
    vi words[16];  // 64 bytes of each output, turned over: 4 bytes an output
    for (int64_t o = 0; o < ES_VL; o++) {
      const uint8_t *row = w + ((o < count ? o : 0) * units + i) * 64;
      for (int k = 0; k < 16; k++) words[k][o] = *(const i32_unaligned *)(row + 4 * k);
    }
    for (int64_t g = 0; g < 4 && 4 * i + g < groups; g++) {
      vb u[8];
      for (int k = 0; k < 8; k++) {
        const vb both = (vb)words[8 * (g % 2) + k];
        u[k] = g < 2 ? low_nibbles(both) : both >> 4;
      }
      vf s;
      for (int64_t o = 0; o < ES_VL; o++)
        s[o] = half1(wscale + ((o < count ? o : 0) * units + i) * per + g * 32 / block);
      const int64_t at = 4 * i + g;
      add_tile(f, u, s, q + 32 * at, scale + at, sum + at, q_pitch, tokens);
    }
  }
  for (int64_t t = 0; t < tokens; t++) store_outputs(y + t * y_pitch, f[t], bias, count);
}

// rows_qb4 without index for several tokens: token t has q + t * q_pitch (a multiple of 32), scale and sum
// + t * q_pitch / 32, and y + t * y_pitch.
void ES_KERNEL(rows_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t block,
    int64_t begin, int64_t end) {
  const int64_t groups = (inputs + 31) / 32, units = (groups + 3) / 4;
  for (int64_t o = begin; o < end; o += ES_VL) {
    const uint8_t *at = w + o * units * 64;
    const uint16_t *of = wscale + o * units * (128 / block);
    const float *with = bias ? bias + o : 0;
    for (int64_t t = 0; t < tokens;) {
      const int64_t g = t * (q_pitch / 32), many = tokens - t >= ES_TOKENS ? ES_TOKENS : 1;
      const int8_t *x = q + t * q_pitch;
      float *to = y + t * y_pitch + o;
      if (many > 1) some(at, of, with, x, scale + g, sum + g, to, ES_TOKENS, q_pitch, y_pitch, groups, block, end - o);
      else some(at, of, with, x, scale + g, sum + g, to, 1, q_pitch, y_pitch, groups, block, end - o);
      t += many;
    }
  }
}
