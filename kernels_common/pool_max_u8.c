// edgesparse-kernel: op=pool_max dtype=u8 isa=any
#define T uint8_t
#define LOWEST 0
#define BEATS(value, top) ((value) > (top))
#include "pool_max.h"

// y[c, r, q] = max of x[c, r * stride_y - begin_y + i * dilation_y, ...] over the window, inside x.
// x: (channels, size_y, size_x); y: (channels, out_y, out_x); they do not overlap.
void ES_KERNEL(pool_max_u8)(const uint8_t *x, uint8_t *y, int64_t channels, int64_t size_y, int64_t size_x,
                            int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x, int64_t dilation_y,
                            int64_t dilation_x, int64_t begin_y, int64_t begin_x, int64_t out_y, int64_t out_x) {
  pool_max(x, y, channels, size_y, size_x, kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, begin_y,
           begin_x, out_y, out_x);
}
