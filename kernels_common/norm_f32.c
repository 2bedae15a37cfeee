// edgesparse-kernel: op=norm dtype=f32 isa=any
#include "reduce_f32.h"

ES_FOLD(sum, SUM)
ES_FOLD(sum_square, SUM_SQUARE)

// Rows of neighbours. s, b: of this row; each serves `run` elements.
static void norm_row(const float *x, float *y, int64_t n, const float *s, const float *b, int64_t run, float epsilon,
                     int64_t center) {
  const float mean = center ? sum_row(x, n, 0) / (float)n : 0;
  const float scale = 1 / __builtin_sqrtf(sum_square_row(x, n, mean) / (float)n + epsilon);
  int64_t i = 0;
  if (run == 1) {
    for (; i + ES_VL <= n; i += ES_VL)
      store_vf(y + i, (load_vf(x + i) - mean) * scale * load_vf(s + i) + (b ? load_vf(b + i) : splat_vf(0)));
    for (; i < n; i++) y[i] = (x[i] - mean) * scale * s[i] + (b ? b[i] : 0);
    return;
  }
  for (int64_t channel = 0; i < n; channel++) {
    const float a = scale * s[channel], c = b ? b[channel] : 0;
    const int64_t end = i + run;
    for (; i + ES_VL <= end; i += ES_VL) store_vf(y + i, (load_vf(x + i) - mean) * a + c);
    for (; i < end; i++) y[i] = (x[i] - mean) * a + c;
  }
}

// Columns of a (n, inner) matrix, 16 and then one at a time.
static void norm_columns(const float *x, float *y, int64_t n, int64_t inner, const float *s, const float *b,
                         float epsilon, int64_t center) {
  int64_t k = 0;
  for (; k + 16 <= inner; k += 16) {
    vf16 mean = splat16(0), zero = splat16(0);
    if (center) mean = sum_columns(x + k, n, inner, zero) / (float)n;
    vf16 scale = 1 / __builtin_elementwise_sqrt(sum_square_columns(x + k, n, inner, mean) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++)
      store16(y + i * inner + k, (load16(x + i * inner + k) - mean) * scale * s[i] + (b ? b[i] : 0));
  }
  for (; k < inner; k++) {
    float mean = center ? sum_column(x + k, n, inner, 0) / (float)n : 0;
    float scale = 1 / __builtin_sqrtf(sum_square_column(x + k, n, inner, mean) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++) y[i * inner + k] = (x[i * inner + k] - mean) * scale * s[i] + (b ? b[i] : 0);
  }
}

// y[o, i, k] = (x[o, i, k] - mean[o, k]) / sqrt(variance[o, k] + epsilon) * scale[c] + bias[c], mean and variance
// (around the mean, in a second pass) over i; without `center` the mean counts as 0.
// c = (o % groups) (n / run) + i / run; x, y: (outer, n, inner); where inner > 1, groups and run are 1.
// bias may be null; y may be x.
void ES_KERNEL(norm_f32)(const float *x, const float *scale, const float *bias, float *y, int64_t outer, int64_t n,
                         int64_t inner, int64_t groups, int64_t run, float epsilon, int64_t center) {
  if (n == 0) return;
  for (int64_t o = 0; o < outer; o++, x += n * inner, y += n * inner) {
    const int64_t first = o % groups * (n / run);
    const float *s = scale + first, *b = bias ? bias + first : 0;
    if (inner == 1) norm_row(x, y, n, s, b, run, epsilon, center);
    else norm_columns(x, y, n, inner, s, b, epsilon, center);
  }
}
