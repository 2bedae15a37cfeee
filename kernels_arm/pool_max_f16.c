// edgesparse-kernel: op=pool_max dtype=f16 isa=neon
#include "half.h"

#define ES_POOL_T _Float16
#define ES_POOL_LOAD(p) ES_CAT(widen, ES_VL, )(ES_CAT(load_half, ES_VL, )(p))
#define ES_POOL_STORE(p, v) ES_CAT(store_half, ES_VL, )(p, ES_CAT(narrow, ES_VL, )(v))
#include "pool_max_float.h"

// y[c, r, q] = max of x[c, r * stride_y - begin_y + i * dilation_y, ...] over the window, inside x.
// x: planes of (size_y, size_x), x_plane apart; y: planes of (out_y, out_x), y_plane apart, zeros between them.
// Planes begin..end-1 are computed; x and y do not overlap. A NaN in the window is the result.
void ES_KERNEL(pool_max_f16)(const _Float16 *x, _Float16 *y, int64_t begin, int64_t end, int64_t x_plane,
                             int64_t y_plane, int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x,
                             int64_t stride_y, int64_t stride_x, int64_t dilation_y, int64_t dilation_x,
                             int64_t begin_y, int64_t begin_x, int64_t out_y, int64_t out_x) {
  pool_max(x, y, begin, end, x_plane, y_plane, size_y, size_x, kernel_y, kernel_x, stride_y, stride_x, dilation_y,
           dilation_x, begin_y, begin_x, out_y, out_x);
}
