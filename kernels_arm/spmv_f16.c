// edgesparse-kernel: op=spmv dtype=f16 isa=neon
// tiles: MR=1 | MR=2 | MR=4 | MR=8 | MR=16
#include "half.h"
#include "spmv.h"

void ES_KERNEL(spmv_f16)(const _Float16 *x, const _Float16 *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const _Float16 *residual, const float *slope, _Float16 *y, int64_t begin,
                         int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t act, float lo,
                         float hi) {
  spmv(x, w, offset, start, bias, residual, slope, y, begin, end, channels, images, x_image, act, lo, hi);
}
