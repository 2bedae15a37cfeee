// edgesparse-kernel: op=dense_many dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon
#include "qb4.h"

ES_INLINE void some(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t groups, int64_t wide,
    int64_t count) {
  vf f[ES_TOKENS] = {};
  for (int64_t g = 0; g < groups; g++) {
    vb u[8];
    for (int k = 0; k < 4; k++) {
      const vb both = load_vb(w + 256 * g + 64 * k);
      u[k] = low_nibbles(both), u[4 + k] = both >> 4;
    }
    add_tile(f, u, half_vf(wscale + (g >> wide) * 16), q + 32 * g, scale + g, sum + g, q_pitch, tokens);
  }
  for (int64_t t = 0; t < tokens; t++) store_outputs(y + t * y_pitch, f[t], bias, count);
}

// dense_qb4 for several tokens: token t has q + t * q_pitch (a multiple of 32), scale and sum + t * q_pitch / 32, and
// y + t * y_pitch.
void ES_KERNEL(dense_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs,
    int64_t block, int64_t begin, int64_t end) {
  const int64_t groups = (inputs + 31) / 32, blocks = (inputs + block - 1) / block, wide = block == 64;
  for (int64_t o = 16 * begin; o < 16 * end && o < outputs; o += ES_VL) {
    const uint8_t *at = w + o / 16 * groups * 256 + 4 * (o % 16);
    const uint16_t *of = wscale + o / 16 * blocks * 16 + o % 16;
    const float *with = bias ? bias + o : 0;
    for (int64_t t = 0; t < tokens;) {
      const int64_t g = t * (q_pitch / 32), many = tokens - t >= ES_TOKENS ? ES_TOKENS : 1;
      const int8_t *x = q + t * q_pitch;
      float *to = y + t * y_pitch + o;
      if (many > 1)
        some(at, of, with, x, scale + g, sum + g, to, ES_TOKENS, q_pitch, y_pitch, groups, wide, outputs - o);
      else some(at, of, with, x, scale + g, sum + g, to, 1, q_pitch, y_pitch, groups, wide, outputs - o);
      t += many;
    }
  }
}
