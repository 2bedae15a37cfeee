// y[c, r, q] = max of x[c, r * stride_y - begin_y + i * dilation_y, ...] over the window, inside x.
// The including file defines T, the element, LOWEST, the maximum of nothing, and BEATS(value, top).
#include "es.h"

ES_INLINE void pool_max(const T *x, T *y, int64_t channels, int64_t size_y, int64_t size_x, int64_t kernel_y,
                      int64_t kernel_x, int64_t stride_y, int64_t stride_x, int64_t dilation_y, int64_t dilation_x,
                      int64_t begin_y, int64_t begin_x, int64_t out_y, int64_t out_x) {
  for (int64_t c = 0; c < channels; c++, x += size_y * size_x)
    for (int64_t r = 0; r < out_y; r++)
      for (int64_t q = 0; q < out_x; q++) {
        T top = LOWEST;
        for (int64_t i = 0; i < kernel_y; i++) {
          int64_t iy = r * stride_y - begin_y + i * dilation_y;
          if (iy < 0 || iy >= size_y) continue;
          for (int64_t j = 0; j < kernel_x; j++) {
            int64_t ix = q * stride_x - begin_x + j * dilation_x;
            if (ix < 0 || ix >= size_x) continue;
            T value = x[iy * size_x + ix];
            if (BEATS(value, top)) top = value;
          }
        }
        *y++ = top;
      }
}
