// Integer max pooling; that of floats is in pool_max_float.h. The including file defines T, the element, and LOWEST,
// the maximum of nothing. Arguments as there.
#include "es.h"

ES_INLINE void pool_max(const T *x, T *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane, int64_t size_y,
                        int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x,
                        int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x, int64_t out_y,
                        int64_t out_x) {
  for (int64_t c = begin; c < end; c++) {
    const T *plane = x + c * x_plane;
    T *out = y + c * y_plane;
    for (int64_t r = 0; r < out_y; r++)
      for (int64_t q = 0; q < out_x; q++) {
        T top = LOWEST;
        for (int64_t i = 0; i < kernel_y; i++) {
          const int64_t iy = r * stride_y - begin_y + i * dilation_y;
          if (iy < 0 || iy >= size_y) continue;
          for (int64_t j = 0; j < kernel_x; j++) {
            const int64_t ix = q * stride_x - begin_x + j * dilation_x;
            if (ix >= 0 && ix < size_x && plane[iy * size_x + ix] > top) top = plane[iy * size_x + ix];
          }
        }
        *out++ = top;
      }
    for (int64_t i = out_y * out_x; i < y_plane; i++) y[c * y_plane + i] = 0;
  }
}
