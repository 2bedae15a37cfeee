// edgesparse-kernel: op=depthwise dtype=f32 isa=any
#include "activation_f32.h"
#include "planes.h"

// One channel is copied with its border into scratch (L1), cut into phases when the stride is not
// one; then every output vector is `taps` multiply-adds at fixed offsets from one address.
#define NV 4

ES_INLINE void tile(const int n, const float *x, const float *w, const int64_t *tap, const int taps, float bias, vf *acc) {
#pragma unroll
  for (int v = 0; v < n; v++) acc[v] = splat_vf(bias);
  // 9 and 25 taps arrive as constants; anything else is a plain loop.
#pragma unroll 5
  for (int k = 0; k < taps; k++) {
    const float *p = x + tap[k];
    vf weight = splat_vf(w[k]);
#pragma unroll
    for (int v = 0; v < n; v++) acc[v] += weight * load_vf(p + v * ES_VL);
  }
}

ES_INLINE void channel(const float *x, const float *w, const int64_t *tap, const int taps, float bias, float *y,
                       int64_t rows, int64_t columns, int64_t pitch, int64_t act, float lo, float hi) {
  // `flat`: short rows are computed end to end, border included, and the border is dropped.
  int flat = columns < 2 * ES_VL;
  int64_t runs = flat ? 1 : rows, length = flat ? (rows - 1) * pitch + columns : columns;
  for (int64_t r = 0; r < runs; r++) {
    const float *in = x + r * pitch;
    for (int64_t p = 0; p < length; p += NV * ES_VL) {
      vf acc[NV];
      int n = length - p > 3 * ES_VL ? 4 : length - p > 2 * ES_VL ? 3 : length - p > ES_VL ? 2 : 1;
      if (n == 4) tile(4, in + p, w, tap, taps, bias, acc);
      else if (n == 3) tile(3, in + p, w, tap, taps, bias, acc);
      else if (n == 2) tile(2, in + p, w, tap, taps, bias, acc);
      else tile(1, in + p, w, tap, taps, bias, acc);
      for (int v = 0; v < n; v++) {
        if (act) acc[v] = ES_CAT(es_act, ES_VL, )(acc[v], act, lo, hi);
        int64_t at = p + v * ES_VL;
        if (!flat && at + ES_VL <= columns) {
          store_vf(y + r * columns + at, acc[v]);
          continue;
        }
        float out[ES_VL];
        store_vf(out, acc[v]);
        int64_t row = flat ? at / pitch : r, q = flat ? at % pitch : at;
        for (int e = 0; e < ES_VL && row < rows; e++) {
          if (q < columns) y[row * columns + q] = out[e];
          q++;
          if (q == pitch) {
            if (!flat) break;
            q = 0, row++;
          }
        }
      }
    }
  }
}

// y[i, c*m + k, r, q] = act(bias[c*m + k] + sum_t w[c*m + k, t] * plane(x[i, c])[tap[t] + r * pitch + q])
// with m = multiplier and plane the bordered, phase-split copy (see planes.h) of in_rows x pitch.
// x: (images, channels, height, width); w: (channels * m, taps); slope: per output channel or null;
// y: (images, channels * m, rows, columns). scratch: phases * in_rows * pitch + slack floats.
// Channels begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(depthwise_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                              float *scratch, int64_t begin, int64_t end, int64_t images, int64_t channels,
                              int64_t multiplier, int64_t height, int64_t width, int64_t in_rows, int64_t pitch,
                              int64_t stride_y, int64_t stride_x, int64_t phases, const int64_t *dy, const int64_t *dx,
                              int64_t slack, int64_t taps, const int64_t *tap, int64_t rows, int64_t columns, int64_t act,
                              float lo, float hi) {
  int64_t size = in_rows * pitch;
  for (int64_t i = 0; i < slack; i++) scratch[phases * size + i] = 0;
  for (int64_t image = 0; image < images; image++)
    for (int64_t c = begin; c < end; c++) {
      const float *in = x + (image * channels + c) * height * width;
      for (int64_t f = 0; f < phases; f++)
        es_plane(in, scratch + f * size, height, width, in_rows, pitch, stride_y, stride_x, dy[f], dx[f]);
      for (int64_t k = c * multiplier; k < (c + 1) * multiplier; k++) {
        float *out = y + (image * channels * multiplier + k) * rows * columns;
        float low = slope ? slope[k] : lo;
        if (taps == 9) channel(scratch, w + k * 9, tap, 9, bias[k], out, rows, columns, pitch, act, low, hi);
        else if (taps == 25) channel(scratch, w + k * 25, tap, 25, bias[k], out, rows, columns, pitch, act, low, hi);
        else channel(scratch, w + k * taps, tap, (int)taps, bias[k], out, rows, columns, pitch, act, low, hi);
      }
    }
}
