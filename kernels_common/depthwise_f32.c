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

// n vectors side by side, finished and stored.
ES_INLINE void run(const int n, const float *x, const float *w, const int64_t *tap, const int taps, float bias, float *y,
                   int64_t act, float lo, float hi) {
  vf acc[NV];
  tile(n, x, w, tap, taps, bias, acc);
#pragma unroll
  for (int v = 0; v < n; v++) store_vf(y + v * ES_VL, act ? ES_CAT(es_act, ES_VL, )(acc[v], act, lo, hi) : acc[v]);
}

// `vectors` of them, at most NV at a time.
ES_INLINE void runs(int64_t vectors, const float *x, const float *w, const int64_t *tap, const int taps, float bias,
                    float *y, int64_t act, float lo, float hi) {
  for (; vectors >= NV; vectors -= NV, x += NV * ES_VL, y += NV * ES_VL) run(NV, x, w, tap, taps, bias, y, act, lo, hi);
  if (vectors == 3) run(3, x, w, tap, taps, bias, y, act, lo, hi);
  else if (vectors == 2) run(2, x, w, tap, taps, bias, y, act, lo, hi);
  else if (vectors == 1) run(1, x, w, tap, taps, bias, y, act, lo, hi);
}

ES_INLINE void channel(const float *x, const float *w, const int64_t *tap, const int taps, float bias, float *y,
                       float *flat, int64_t rows, int64_t columns, int64_t pitch, int64_t act, float lo, float hi) {
  if (columns >= 2 * ES_VL) {
    for (int64_t r = 0; r < rows; r++, x += pitch, y += columns) {
      runs(columns / ES_VL, x, w, tap, taps, bias, y, act, lo, hi);
      // The last vector ends with the row; it computes a few pixels twice.
      if (columns % ES_VL) run(1, x + columns - ES_VL, w, tap, taps, bias, y + columns - ES_VL, act, lo, hi);
    }
    return;
  }
  // Short rows are computed end to end, border included, into `flat`; the border is dropped on the way to y.
  int64_t length = (rows - 1) * pitch + columns;
  runs((length + ES_VL - 1) / ES_VL, x, w, tap, taps, bias, flat, act, lo, hi);
  for (int64_t r = 0; r < rows; r++, flat += pitch, y += columns) {
    int64_t q = 0;
    for (; q + 4 <= columns; q += 4) store4(y + q, load4(flat + q));
    for (; q < columns; q++) y[q] = flat[q];
  }
}

// y[i, c*m + k, r, q] = act(bias[c*m + k] + sum_t w[c*m + k, t] * plane(x[i, c])[tap[t] + r * pitch + q])
// with m = multiplier and plane the bordered, phase-split copy (see planes.h) of in_rows x pitch.
// x: (images, channels, height, width), planes x_plane apart; w: (channels * m, taps); slope: per output channel or null;
// y: (images, channels * m, rows, columns), planes y_plane apart. scratch: phases * in_rows * pitch + slack floats
// for the copy, rows * pitch + 16 for what is computed end to end.
// Channels begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(depthwise_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                              float *scratch, int64_t begin, int64_t end, int64_t images, int64_t channels,
                              int64_t multiplier, int64_t height, int64_t width, int64_t x_plane, int64_t in_rows, int64_t pitch,
                              int64_t stride_y, int64_t stride_x, int64_t phases, const int64_t *dy, const int64_t *dx,
                              int64_t slack, int64_t taps, const int64_t *tap, int64_t rows, int64_t columns, int64_t y_plane, int64_t act,
                              float lo, float hi) {
  int64_t size = in_rows * pitch;
  float *flat = scratch + phases * size + slack;
  for (int64_t i = 0; i < slack; i++) scratch[phases * size + i] = 0;
  for (int64_t image = 0; image < images; image++)
    for (int64_t c = begin; c < end; c++) {
      const float *in = x + (image * channels + c) * x_plane;
      for (int64_t f = 0; f < phases; f++)
        es_plane(in, scratch + f * size, height, width, in_rows, pitch, stride_y, stride_x, dy[f], dx[f]);
      for (int64_t k = c * multiplier; k < (c + 1) * multiplier; k++) {
        float *out = y + (image * channels * multiplier + k) * y_plane;
        float low = slope ? slope[k] : lo;
        if (taps == 9) channel(scratch, w + k * 9, tap, 9, bias[k], out, flat, rows, columns, pitch, act, low, hi);
        else if (taps == 25) channel(scratch, w + k * 25, tap, 25, bias[k], out, flat, rows, columns, pitch, act, low, hi);
        else channel(scratch, w + k * taps, tap, (int)taps, bias[k], out, flat, rows, columns, pitch, act, low, hi);
        es_zero(out + rows * columns, y_plane - rows * columns);
      }
    }
}
