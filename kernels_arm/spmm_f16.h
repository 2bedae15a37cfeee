// spmm for activations and weights stored as halves: what it computes, its packing and its tiles are those of
// spmm.h in kernels_common/, for vectors of ES_VL halves:
//
//   neon        4 pixels: loaded, converted to floats, accumulated as floats
//   neon_fp16   8 pixels: `fmla v.8h`. ES_FOLD entries are added up as halves, their sums as floats.
//
// Errors of sums of halves, measured behind a Relu, rms, relative to the rms of the sums: 1.2e-3 of 128 terms, 3.0e-3
// of 1024, 6.6e-3 of 4096. Folded every 128 terms they stay below 1.5e-3, every 64 below 1.1e-3; rounding the result
// alone is 0.2e-3. Whole networks gain next to nothing from shorter folds: 3% of MobileNetV1's error by 64 terms.
//
// Bias and slope are floats.
#include "half.h"

#define ES_MEAN mean_of_halves
#if ES_FP16
#define ES_FOLD 128
#else
#define ES_FOLD 0
#endif
#if ES_FP16 && MR % 8 == 0
#define ES_AT_ONCE 8
#else
#define ES_AT_ONCE 4
#endif
// Few have rows that are shorter than a vector, and they are not worth much code.
#define ES_MAX_SHORT 1
#define ES_MAX_SINGLE 1

// Of the first `count` halves at p, summed as floats; the four behind them are loaded, but not used.
ES_INLINE _Float16 mean_of_halves(const _Float16 *p, int64_t count) {
  vf4 sum[2] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) sum[0] += widen4(load_half4(p + i)), sum[1] += widen4(load_half4(p + i + 4));
  for (; i + 4 <= count; i += 4) sum[0] += widen4(load_half4(p + i));
  const vi4 used = (vi4){0, 1, 2, 3} < (int32_t)(count - i) - (vi4){};
  sum[1] += (vf4)((vi4)widen4(load_half4(p + i)) & used);
  const vf4 lanes = sum[0] + sum[1];
  return (_Float16)(((lanes[0] + lanes[2]) + (lanes[1] + lanes[3])) / (float)count);
}

#include "spmm.h"

// The arguments are those of spmm_images.h; scratch is what `means` is there.
void ES_KERNEL(spmm_f16)(const _Float16 *x, const _Float16 *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const _Float16 *residual, const float *slope, _Float16 *y,
                         _Float16 *scratch, int64_t begin, int64_t end, int64_t channels, int64_t images,
                         int64_t x_image, int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  const es_spmm s = {
      .w = w, .residual = residual, .bias = bias, .slope = slope, .offset = offset, .start = start, .y = y,
      .channels = channels, .y_plane = y_plane, .residual_plane = residual_plane, .act = act, .lo = lo, .hi = hi,
  };
  spmm_images(&s, x, scratch, begin, end, images, x_image, rows, columns, x_row, pitch, valid, plane, spare);
}
