// edgesparse-kernel: op=pool_max dtype=f32 isa=any
#include "pool.h"

// y[c, r, q] = max of x[c, r * stride_y - begin_y + i * dilation_y, ...] over the window, inside x.
// x: (channels, size_y, size_x); y: (channels, out_y, out_x); they do not overlap. A NaN in the
// window is the result.
void ES_KERNEL(pool_max_f32)(const float *x, float *y, int64_t channels, int64_t size_y, int64_t size_x,
                             int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x, int64_t dilation_y,
                             int64_t dilation_x, int64_t begin_y, int64_t begin_x, int64_t out_y, int64_t out_x) {
  const es_pool_inner inner = es_pool_inside(size_x, kernel_x, stride_x, dilation_x, begin_x, out_x);
  const int64_t stop = inner.first + inner.count;
  for (int64_t c = 0; c < channels; c++, x += size_y * size_x)
    for (int64_t r = 0; r < out_y; r++, y += out_x) {
      const int64_t top_row = r * stride_y - begin_y;
      for (int64_t q = 0; q < out_x; q++) {
        if (q >= inner.first && q < stop) {
          if (q + ES_VL > stop) q = stop - ES_VL;  // the last vector ends with the inner windows
          vf top = splat_vf(-__builtin_inff());
          for (int64_t i = 0; i < kernel_y; i++) {
            const int64_t iy = top_row + i * dilation_y;
            if (iy < 0 || iy >= size_y) continue;
            const float *row = x + iy * size_x + q * stride_x - begin_x;
            for (int64_t j = 0; j < kernel_x; j++) {
              const vf value = es_pool_load(row + j * dilation_x, stride_x);
              const vi larger = (value > top) | (value != value);  // nothing is larger than a NaN
              top = (vf)((larger & (vi)value) | (~larger & (vi)top));
            }
          }
          store_vf(y + q, top);
          q += ES_VL - 1;
          continue;
        }
        float top = -__builtin_inff();
        for (int64_t i = 0; i < kernel_y; i++) {
          const int64_t iy = top_row + i * dilation_y;
          if (iy < 0 || iy >= size_y) continue;
          for (int64_t j = 0; j < kernel_x; j++) {
            const int64_t ix = q * stride_x - begin_x + j * dilation_x;
            if (ix < 0 || ix >= size_x) continue;
            const float value = x[iy * size_x + ix];
            if (value > top || value != value) top = value;
          }
        }
        y[q] = top;
      }
    }
}
