// edgesparse-kernel: op=pool_avg dtype=f32 isa=any
#include "pool_avg.h"

// y[c, r, q] = mean of the window (see pool_max) over the places inside x, or, with include_pad,
// over those inside x and its padding (begin before, end behind).
// Planes begin..end-1 as in pool_max.
void ES_KERNEL(pool_avg_f32)(const float *x, float *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane,
                             int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y,
                             int64_t stride_x, int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x,
                             int64_t end_y, int64_t end_x, int64_t out_y, int64_t out_x, int64_t include_pad) {
  pool_avg(x, y, begin, end, x_plane, y_plane, size_y, size_x, kernel_y, kernel_x, stride_y, stride_x, dilation_y,
           dilation_x, begin_y, begin_x, end_y, end_x, out_y, out_x, include_pad);
}
