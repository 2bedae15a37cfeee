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

// Columns first..last-1 of a (n, inner) matrix, 16 at once or one at a time.
static void norm_columns(const float *x, float *y, int64_t n, int64_t inner, int64_t first, int64_t last, const float *s,
                         const float *b, float epsilon, int64_t center) {
  if (last - first == 16) {
    vf16 mean = splat16(0), zero = splat16(0);
    x += first, y += first;
    if (center) mean = sum_columns(x, n, inner, zero) / (float)n;
    vf16 scale = 1 / __builtin_elementwise_sqrt(sum_square_columns(x, n, inner, mean) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++)
      store16(y + i * inner, (load16(x + i * inner) - mean) * scale * s[i] + (b ? b[i] : 0));
    return;
  }
  for (int64_t k = first; k < last; k++) {
    float mean = center ? sum_column(x + k, n, inner, 0) / (float)n : 0;
    float scale = 1 / __builtin_sqrtf(sum_square_column(x + k, n, inner, mean) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++) y[i * inner + k] = (x[i * inner + k] - mean) * scale * s[i] + (b ? b[i] : 0);
  }
}

// y[o, i, k] = (x[o, i, k] - mean[o, k]) / sqrt(variance[o, k] + epsilon) * scale[c] + bias[c], mean and variance
// (around the mean, in a second pass) over i; without `center` the mean counts as 0.
// c = (o % groups) (n / run) + i / run; x, y: (outer, n, inner); where inner > 1, groups and run are 1.
// bias may be null; y may be x. Strips begin..end-1 of 16 columns are computed, outer * ceil(inner / 16) in all.
void ES_KERNEL(norm_f32)(const float *x, const float *scale, const float *bias, float *y, int64_t begin, int64_t end,
                         int64_t n, int64_t inner, int64_t groups, int64_t run, float epsilon, int64_t center) {
  if (n == 0) return;
  const int64_t strips = (inner + 15) / 16;
  for (int64_t strip = begin; strip < end; strip++) {
    const int64_t o = strip / strips, from = strip % strips * 16, to = from + 16 < inner ? from + 16 : inner;
    const int64_t first = o % groups * (n / run), at = o * n * inner;
    const float *s = scale + first, *b = bias ? bias + first : 0;
    if (inner == 1) norm_row(x + at, y + at, n, s, b, run, epsilon, center);
    else norm_columns(x + at, y + at, n, inner, from, to, s, b, epsilon, center);
  }
}
