// edgesparse-kernel: op=pool_max dtype=i8 isa=any
#define T int8_t
#define LOWEST -128
#include "pool_max.h"

// As pool_max_f32.
void ES_KERNEL(pool_max_i8)(const int8_t *x, int8_t *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane,
                            int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y,
                            int64_t stride_x, int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x,
                            int64_t out_y, int64_t out_x) {
  pool_max(x, y, begin, end, x_plane, y_plane, size_y, size_x, kernel_y, kernel_x, stride_y, stride_x, dilation_y,
           dilation_x, begin_y, begin_x, out_y, out_x);
}
