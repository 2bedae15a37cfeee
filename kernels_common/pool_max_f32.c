// edgesparse-kernel: op=pool_max dtype=f32 isa=any
#define T float
#define LOWEST -__builtin_inff()
#define BEATS(value, top) ((value) > (top) || (value) != (value))  // nothing is larger than a NaN
#include "pool_max.h"

// y[c, r, q] = max of x[c, r * stride_y - begin_y + i * dilation_y, ...] over the window, inside x.
// x: (channels, size_y, size_x); y: (channels, out_y, out_x); they do not overlap. A NaN in the
// window is the result.
void ES_KERNEL(pool_max_f32)(const float *x, float *y, int64_t channels, int64_t size_y, int64_t size_x,
                             int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x, int64_t dilation_y,
                             int64_t dilation_x, int64_t begin_y, int64_t begin_x, int64_t out_y, int64_t out_x) {
  pool_max(x, y, channels, size_y, size_x, kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, begin_y,
           begin_x, out_y, out_x);
}
