// spmv of floats: spmv.h says what it computes.
#include "element_f32.h"
#include "spmv.h"

void ES_KERNEL(spmv_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y, int64_t begin,
                         int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t act, float lo,
                         float hi) {
  spmv(x, w, offset, start, bias, residual, slope, y, begin, end, channels, images, x_image, act, lo, hi);
}
