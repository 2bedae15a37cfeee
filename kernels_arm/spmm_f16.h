// spmm for activations and weights stored as halves: what it computes, its packing and its tiles are those of
// spmm_f32.h in kernels_common/, for vectors of ES_VL halves:
//
//   neon        4 pixels: loaded, converted to floats, accumulated as floats
//   neon_fp16   8 pixels: `fmla v.8h`. FOLD entries are added up as halves, their sums as floats.
//
// Errors of sums of halves, measured behind a Relu, rms, relative to the rms of the sums: 1.2e-3 of 128 terms, 3.0e-3
// of 1024, 6.6e-3 of 4096. Folded every 128 terms they stay below 1.5e-3, every 64 below 1.1e-3; rounding the result
// alone is 0.2e-3. Whole networks gain next to nothing from shorter folds: 3% of MobileNetV1's error by 64 terms.
//
// Bias and slope are floats.
#include "half.h"

enum { FOLD = 128 };

// What does not change during one call.
typedef struct {
  const _Float16 *w, *residual;
  const float *bias, *slope;
  const int32_t *offset, *start;
  _Float16 *y;
  int64_t begin, end, channels, y_plane, residual_plane, act;
  float lo, hi;
  int clamped, clamps;  // the activation is min(max(y, lo), hi); and there is no residual before it
} es_spmm;

// Where the pixels of a tile go when rows of x are wider than rows of y: pieces (from, to, length).
typedef struct {
  int32_t count;
  int32_t from[ES_VL * NV + 1], to[ES_VL * NV + 1], length[ES_VL * NV + 1];
} es_pieces;

#define ES_WIDTH ES_VL
#define ES_MAX_N NV
#include "spmm_tile_f16.h"
// Rows that are shorter than a vector: few have such, and they are not worth much code.
#if ES_VL > 4
#define ES_WIDTH 4
#define ES_MAX_N 1
#include "spmm_tile_f16.h"
#endif
#define ES_WIDTH 1
#define ES_MAX_N 1
#include "spmm_tile_f16.h"

// One row of `columns` pixels: tiles of at most NV vectors, as even as possible; the last vector
// is moved left so that it ends with the row (it computes a few pixels twice, reads nothing beyond).
ES_INLINE void spmm_row(const es_spmm *s, const _Float16 *x, int64_t y0, int64_t columns, int64_t pitch,
                        int64_t valid) {
#define ES_WIDE(W, MAX)                                                                   \
  if (columns >= W) {                                                                     \
    int64_t vectors = (columns + W - 1) / W, tiles = (vectors + MAX - 1) / MAX, p = 0;    \
    for (int64_t t = 0; t < tiles; t++) {                                                 \
      int64_t n = vectors / tiles + (t < vectors % tiles);                                \
      int64_t last = t == tiles - 1 ? columns - W - p : (n - 1) * W;                      \
      ES_CAT(spmm_tile, W, )(s, n, x + p, y0, p, last, pitch, valid);                     \
      p += n * W;                                                                         \
    }                                                                                     \
    return;                                                                               \
  }
  ES_WIDE(ES_VL, NV)
#if ES_VL > 4
  ES_WIDE(4, 1)
#endif
  ES_WIDE(1, 1)
#undef ES_WIDE
}

// The arguments are those of spmm_f32, see there; halves where they are here.
void ES_KERNEL(spmm_f16)(const _Float16 *x, const _Float16 *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const _Float16 *residual, const float *slope, _Float16 *y,
                         int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image,
                         int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  es_spmm s = {
      w, residual, bias, slope, offset, start, y, begin, end, channels, y_plane, residual_plane, act, lo, hi, 0, 0,
  };
  const int64_t whole = (columns + ES_VL - 1) / ES_VL * ES_VL;
  s.clamped = es_act_bounds(act, &s.lo, &s.hi);
  s.clamps = s.clamped && !residual;
  const int64_t written = whole - columns <= spare ? plane + whole - columns : plane;
  if (written > plane) columns = whole;
  for (int64_t image = 0; image < images; image++) {
    for (int64_t r = 0; r < rows; r++)
      spmm_row(&s, x + image * x_image + r * x_row, r * columns, columns, pitch, valid);
    for (int64_t c = begin * MR; c < end * MR && c < channels; c++)
      zero_halves(s.y + c * y_plane + written, y_plane - written);
    s.y += channels * y_plane;
    if (residual) s.residual += channels * residual_plane;
  }
}
