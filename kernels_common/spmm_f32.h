// spmm of floats: spmm.h says what it computes.
#include "element_f32.h"
#include "mean_f32.h"

#define ES_MEAN es_mean
#define ES_AT_ONCE 4
#define ES_FOLD 0
// The ends of rows, where they are shorter than a vector: fewer vectors, so that they do not spill either.
#if MR > 8
#define ES_MAX_SHORT 1
#define ES_MAX_SINGLE 1
#else
#define ES_MAX_SHORT 2
#define ES_MAX_SINGLE 3
#endif
#include "spmm.h"

// The arguments are those of spmm_images.h; scratch is what `means` is there.
void ES_KERNEL(spmm_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y, float *scratch,
                         int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image,
                         int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  const es_spmm s = {
      .w = w, .residual = residual, .bias = bias, .slope = slope, .offset = offset, .start = start, .y = y,
      .channels = channels, .y_plane = y_plane, .residual_plane = residual_plane, .act = act, .lo = lo, .hi = hi,
  };
  spmm_images(&s, x, scratch, begin, end, images, x_image, rows, columns, x_row, pitch, valid, plane, spare);
}
