// Average pooling of the numbers that pool.h loads and stores, summed as floats. Included by pool_avg_*.c.
#include "pool.h"

ES_INLINE void pool_avg(const ES_POOL_T *x, ES_POOL_T *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane,
                        int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y,
                        int64_t stride_x, int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x,
                        int64_t end_y, int64_t end_x, int64_t out_y, int64_t out_x, int64_t include_pad) {
  const es_pool_inner inner = es_pool_inside(size_x, kernel_x, stride_x, dilation_x, begin_x, out_x);
  const int64_t stop = inner.first + inner.count;
  x += begin * x_plane, y += begin * y_plane;
  for (int64_t c = begin; c < end; c++, x += x_plane, y += y_plane - out_y * out_x) {
    for (int64_t r = 0; r < out_y; r++, y += out_x)
      for (int64_t q = 0; q < out_x; q++) {
        if (q >= inner.first && q < stop) {
          if (q + ES_VL > stop) q = stop - ES_VL;  // the last vector ends with the inner windows
          vf sums = splat_vf(0);
          int64_t places = 0;
          for (int64_t i = 0; i < kernel_y; i++) {
            const int64_t iy = r * stride_y - begin_y + i * dilation_y;
            if (iy >= size_y + end_y) break;
            const int inside = iy >= 0 && iy < size_y;
            if (inside || include_pad) places += kernel_x;
            if (!inside) continue;
            const ES_POOL_T *row = x + iy * size_x + q * stride_x - begin_x;
            for (int64_t j = 0; j < kernel_x; j++) sums += es_pool_load(row + j * dilation_x, stride_x);
          }
          ES_POOL_STORE(y + q, sums / (float)places);
          q += ES_VL - 1;
          continue;
        }
        float sum = 0;
        int64_t count = 0;
        for (int64_t i = 0; i < kernel_y; i++) {
          int64_t iy = r * stride_y - begin_y + i * dilation_y;
          if (iy >= size_y + end_y) break;
          int inside = iy >= 0 && iy < size_y;
          if (!inside && !include_pad) continue;
          if (inside && dilation_x == 1 && q * stride_x >= begin_x && q * stride_x - begin_x + kernel_x <= size_x) {
            const ES_POOL_T *row = x + iy * size_x + q * stride_x - begin_x;
            vf part = splat_vf(0);
            int64_t j = 0;
            for (; j + ES_VL <= kernel_x; j += ES_VL) part += ES_POOL_LOAD(row + j);
            for (int e = 0; e < ES_VL; e++) sum += part[e];
            for (; j < kernel_x; j++) sum += (float)row[j];
            count += kernel_x;
            continue;
          }
          for (int64_t j = 0; j < kernel_x; j++) {
            int64_t ix = q * stride_x - begin_x + j * dilation_x;
            if (ix >= size_x + end_x) break;
            int in_row = ix >= 0 && ix < size_x;
            if (in_row && inside) sum += (float)x[iy * size_x + ix];
            count += include_pad || in_row;
          }
        }
        y[q] = (ES_POOL_T)(sum / (float)count);
      }
    es_pool_zero(y, y_plane - out_y * out_x);
  }
}
