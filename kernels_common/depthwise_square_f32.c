// edgesparse-kernel: op=depthwise_square dtype=f32 isa=any
#include "depthwise_square_f32.h"

// y[i, c*m + k, r, q] = act(bias[c*m + k] + sum_a,b w[c*m + k, a, b] * x[i, c, r*stride + a - top, q*stride + b - left])
// with m = multiplier and zeros outside of x; kernel is 3 or 5, stride 1 or 2; top, left < kernel.
// x: (images, channels, height, width), planes x_plane apart; w: (channels * m, kernel, kernel); slope: per output channel or null;
// y: (images, channels * m, rows, columns), planes y_plane apart; scratch: ES_DW_BEFORE + height * width + ES_DW_BEHIND floats.
// Channels begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(depthwise_square_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                                     float *scratch, int64_t begin, int64_t end, int64_t images, int64_t channels,
                                     int64_t multiplier, int64_t height, int64_t width, int64_t x_plane, int64_t rows,
                                     int64_t columns, int64_t y_plane, int64_t kernel, int64_t stride, int64_t top, int64_t left, int64_t act, float lo,
                                     float hi) {
  es_depthwise d = {height, width, rows, columns, top, left, act, lo, hi, hi};
  if (!es_act_bounds(act, &d.lo, &d.hi)) d.lo = -__builtin_inff(), d.hi = __builtin_inff();
  for (int64_t image = 0; image < images; image++)
    for (int64_t c = begin; c < end; c++) {
      const int64_t plane = height * width, before = (image * channels + c) * x_plane;
      const float *in = x + before;
      if (before < ES_DW_BEFORE || images * channels * x_plane - before - plane < ES_DW_BEHIND) {
        for (int64_t i = 0; i < plane; i++) scratch[ES_DW_BEFORE + i] = in[i];
        in = scratch + ES_DW_BEFORE;
      }
      for (int64_t k = c * multiplier; k < (c + 1) * multiplier; k++) {
        float *out = y + (image * channels * multiplier + k) * y_plane;
        es_dw_rows(&d, (int)kernel, (int)stride, in, w + k * kernel * kernel, bias[k], slope ? slope[k] : lo, out, 0, rows);
        es_zero(out + rows * columns, y_plane - rows * columns);
      }
    }
}
