// edgesparse-kernel: op=softmax dtype=f32 isa=any
#include "es.h"
#include "math_f32.h"

// y[o, i, k] = exp(x[o, i, k] - max_i x[o, i, k]) / sum_i exp(...), or its logarithm when log != 0.
// x, y: (outer, n, inner) row-major; y may be x.
void ES_KERNEL(softmax_f32)(const float *x, float *y, int64_t outer, int64_t n, int64_t inner, int64_t log) {
  for (int64_t o = 0; o < outer; o++)
    for (int64_t k = 0; k < inner; k++) {
      const float *in = x + o * n * inner + k;
      float *out = y + o * n * inner + k;
      float top = in[0], sum = 0;
      for (int64_t i = 1; i < n; i++) top = in[i * inner] > top ? in[i * inner] : top;
      for (int64_t i = 0; i < n; i++) {
        float e = es_exp1((vf1){in[i * inner] - top})[0];
        sum += e;
        out[i * inner] = log ? in[i * inner] - top : e;
      }
      if (log) {
        float l = es_log1((vf1){sum})[0];
        for (int64_t i = 0; i < n; i++) out[i * inner] -= l;
      } else {
        for (int64_t i = 0; i < n; i++) out[i * inner] /= sum;
      }
    }
}
