// edgesparse-kernel: op=conv_transpose dtype=f32 isa=any
#include "activation_f32.h"

// y[n, o, iy * stride_y + ky * dilation_y - top, ix * stride_x + kx * dilation_x - left] +=
//     w[i, o, ky, kx] * x[n, i, iy, ix] for every i of o's group; then act(y + bias).
// x: (images, in_channels, height, width); w: (in_channels, out_channels / groups, kernel_y, kernel_x);
// bias: (out_channels); slope: (out_channels) or null; y: (images, out_channels, rows, columns).
// y must not overlap x. Planes begin..end-1 of y are computed, images * out_channels in all.
void ES_KERNEL(conv_transpose_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                                   int64_t begin, int64_t end, int64_t in_channels, int64_t height, int64_t width,
                                   int64_t out_channels, int64_t rows, int64_t columns, int64_t groups,
                                   int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x,
                                   int64_t dilation_y, int64_t dilation_x, int64_t top, int64_t left, int64_t act,
                                   float lo, float hi) {
  int64_t ins = in_channels / groups, outs = out_channels / groups;
  for (int64_t at = begin; at < end; at++) {
    const int64_t n = at / out_channels, o = at % out_channels, g = o / outs;
    float *plane = y + at * rows * columns;
    for (int64_t p = 0; p < rows * columns; p++) plane[p] = bias[o];
    for (int64_t i = g * ins; i < (g + 1) * ins; i++)
      for (int64_t ky = 0; ky < kernel_y; ky++)
        for (int64_t kx = 0; kx < kernel_x; kx++) {
          float weight = w[((i * outs + o % outs) * kernel_y + ky) * kernel_x + kx];
          int64_t shift = kx * dilation_x - left;
          // ix such that 0 <= ix * stride_x + shift < columns
          int64_t x0 = shift < 0 ? (-shift + stride_x - 1) / stride_x : 0;
          int64_t x1 = columns - shift > 0 ? (columns - shift + stride_x - 1) / stride_x : 0;
          if (x1 > width) x1 = width;
          for (int64_t iy = 0; iy < height; iy++) {
            int64_t oy = iy * stride_y + ky * dilation_y - top;
            if (oy < 0 || oy >= rows) continue;
            const float *in = x + ((n * in_channels + i) * height + iy) * width;
            float *out = plane + oy * columns + shift;
            if (stride_x == 1)
              for (int64_t ix = x0; ix < x1; ix++) out[ix] += weight * in[ix];
            else
              for (int64_t ix = x0; ix < x1; ix++) out[ix * stride_x] += weight * in[ix];
          }
        }
    float low = slope ? slope[o] : lo;
    if (act)
      for (int64_t p = 0; p < rows * columns; p++) plane[p] = es_act1((vf1){plane[p]}, act, low, hi)[0];
  }
}
