// edgesparse-kernel: op=dense dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon
#include "qb4.h"

#define AHEAD 2048  // bytes: what is prefetched

// y[o] = bias[o] + sum_i w[o, i] * x[i], 16 outputs o side by side, pieces begin..end-1.
//
// w: (outputs / 16, inputs / 32, 4, 16, 4), both counts rounded up; wscale: (outputs / 16, inputs / block, 16);
// byte [k, o, r] of 32 inputs holds inputs 4k+r and (upper nibble) 16+4k+r. x = scale * q in groups of 32, which have
// the sums `sum`; q is padded with zeros. block: 32 or 64. bias: (outputs), or null. y: (outputs).
void ES_KERNEL(dense_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block, int64_t begin, int64_t end) {
  const int64_t groups = (inputs + 31) / 32, blocks = (inputs + block - 1) / block, wide = block == 64;
  for (int64_t p = begin; p < end; p++) {
    const uint8_t *at = w + p * groups * 256;
    const uint16_t *of = wscale + p * blocks * 16;
    vf f[16 / ES_VL] = {};
    for (int64_t g = 0; g < groups; g++, at += 256) {
      for (int i = 0; i < 256; i += 64) __builtin_prefetch(at + AHEAD + i);
      for (int v = 0; v < 16 / ES_VL; v++) {
        const vi d = dot32(at + 4 * ES_VL * v, 64, q + 32 * g, sum[g]);
        f[v] += to_float(d) * (half_vf(of + (g >> wide) * 16 + ES_VL * v) * scale[g]);
      }
    }
    for (int v = 0; v < 16 / ES_VL; v++) {
      const int64_t o = 16 * p + ES_VL * v;
      store_outputs(y + o, f[v], bias ? bias + o : 0, outputs - o);
    }
  }
}
