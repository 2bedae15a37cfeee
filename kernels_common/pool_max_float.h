// Max pooling of the numbers that pool.h loads and stores. Included by pool_max_f32.c and pool_max_f16.c; whole numbers
// are in pool_max.h.
#include "pool.h"

#define ES_ODD1 0
#define ES_ODD4 1, 3, 5, 7
#define ES_ODD8 ES_ODD4, 9, 11, 13, 15
#define ES_ODD16 ES_ODD8, 17, 19, 21, 23, 25, 27, 29, 31

// The larger one, lane by lane; nothing is larger than a NaN.
ES_INLINE vf larger(vf a, vf b) {
#if defined(__aarch64__)
  return __builtin_elementwise_maximum(a, b);
#else
  const vi take = (b > a) | (b != b);
  return (vf)((take & (vi)b) | (~take & (vi)a));
#endif
}

// The largest of each of ES_VL columns, the first at x, over `rows` rows.
ES_INLINE vf column_max(const ES_POOL_T *x, int64_t rows, int64_t step) {
  vf top = ES_POOL_LOAD(x);
  for (int64_t i = 1; i < rows; i++) top = larger(top, ES_POOL_LOAD(x + i * step));
  return top;
}

// ES_VL windows of `rows` by `columns` floats that lie inside x: first down the columns, then across.
ES_INLINE vf windows_max(const ES_POOL_T *x, int64_t rows, int64_t step, int64_t columns, int64_t dilation, int64_t stride) {
  vf top = splat_vf(-__builtin_inff());
  if (stride == 2 && dilation == 1 && ES_VL > 1) {
    for (int64_t j = 0; j < columns; j += 2) {
      const vf a = column_max(x + j, rows, step), b = column_max(x + j + ES_VL, rows, step);
      top = larger(top, __builtin_shufflevector(a, b, ES_CAT(ES_EVEN, ES_VL, )));
      if (j + 1 < columns) top = larger(top, __builtin_shufflevector(a, b, ES_CAT(ES_ODD, ES_VL, )));
    }
    return top;
  }
  for (int64_t j = 0; j < columns; j++)
    for (int64_t i = 0; i < rows; i++) top = larger(top, es_pool_load(x + i * step + j * dilation, stride));
  return top;
}

// One output: `rows` by `columns` floats, at least one of each.
ES_INLINE float window_max(const ES_POOL_T *x, int64_t rows, int64_t step, int64_t columns, int64_t dilation) {
  float top = -__builtin_inff();
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      const float value = (float)x[i * step + j * dilation];
      if (value > top || value != value) top = value;
    }
  return top;
}

// The window positions inside 0..size-1, of `kernel` that lie `dilation` apart, the first at `at`.
typedef struct {
  int64_t first, count;
} positions;

ES_INLINE positions inside(int64_t at, int64_t kernel, int64_t dilation, int64_t size) {
  positions p = {at < 0 ? (dilation - 1 - at) / dilation : 0, kernel};
  const int64_t fit = at < size ? (size - 1 - at) / dilation + 1 : 0;
  p.count = (fit < kernel ? fit : kernel) - p.first;
  return p;
}

ES_INLINE void pool_max(const ES_POOL_T *x, ES_POOL_T *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane,
                        int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y,
                        int64_t stride_x, int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x,
                        int64_t out_y, int64_t out_x) {
  const es_pool_inner inner = es_pool_inside(size_x, kernel_x, stride_x, dilation_x, begin_x, out_x);
  const int64_t stop = inner.first + inner.count, step = dilation_y * size_x;
  for (int64_t c = begin; c < end; c++) {
    const ES_POOL_T *plane = x + c * x_plane;
    ES_POOL_T *out = y + c * y_plane;
    for (int64_t r = 0; r < out_y; r++, out += out_x) {
      const int64_t iy = r * stride_y - begin_y;
      const positions rows = inside(iy, kernel_y, dilation_y, size_y);
      const ES_POOL_T *row = plane + (iy + rows.first * dilation_y) * size_x;
      for (int64_t q = 0; q < out_x; q++) {
        const int64_t ix = q * stride_x - begin_x;
        if (rows.count > 0 && q >= inner.first && q < stop) {
          if (q + ES_VL > stop) q = stop - ES_VL;  // the last vector ends with the inner windows
          ES_POOL_STORE(out + q, windows_max(row + q * stride_x - begin_x, rows.count, step, kernel_x, dilation_x, stride_x));
          q += ES_VL - 1;
          continue;
        }
        const positions columns = inside(ix, kernel_x, dilation_x, size_x);
        out[q] = (ES_POOL_T)window_max(row + ix + columns.first * dilation_x, rows.count, step, columns.count, dilation_x);
      }
    }
    es_pool_zero(y + c * y_plane + out_y * out_x, y_plane - out_y * out_x);
  }
}
