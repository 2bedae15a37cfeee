// edgesparse-kernel: op=depthwise_square dtype=f32 isa=any
#include "element_f32.h"
#include "depthwise_square.h"
#include "depthwise_rows_f32.h"

#define ES_WIDTH 4
#define ES_MAX_N 4
#include "depthwise_strips.h"

#ifndef ES_STRIPS
#if defined(__aarch64__)
#define ES_STRIPS 1
#else
#define ES_STRIPS 0
#endif
#endif
#ifndef ES_ROWS
#if defined(__x86_64__)
#define ES_ROWS 1
#else
#define ES_ROWS 0
#endif
#endif

// All arguments of a call. One function per kernel size and stride has the loop over the channels inside, so that what
// is the same for all of them is computed once: small planes take only some hundred instructions each.
typedef struct {
  es_depthwise plane;
  const float *x, *w, *bias, *slope;
  float *y, *scratch;
  int64_t begin, end, images, channels, multiplier, x_plane, y_plane, padding;
  float lo;  // as given; the slope of a leaky Relu
} es_dw_call;

enum { DOWN = -1, ROWS = -2 };  // how; or in strips: the columns of the left border

ES_INLINE void es_dw_channels(const es_dw_call *call, const int K, const int S, const int how) {
  const es_dw_call a = *call;
  const es_depthwise *d = &a.plane;
  const int64_t size = d->height * d->width, size_y = d->rows * d->columns, floats = a.images * a.channels * a.x_plane;
  const es_strip4 layout = es_strip_layout4(d->columns, d->lo, d->hi);
  es_dw_edges edges;
  if (how == ROWS) edges = es_dw_edges_of(d, S, a.scratch + ES_DW_BEFORE + size + ES_DW_BEHIND);
  for (int64_t image = 0; image < a.images; image++) {
    const int64_t first = a.begin * a.multiplier;
    const float *w = a.w + first * K * K, *bias = a.bias + first, *slope = a.slope ? a.slope + first : 0;
    float *out = a.y + (image * a.channels * a.multiplier + first) * a.y_plane;
    const float *in = a.x;
    int64_t at = (image * a.channels + a.begin) * a.x_plane, users = 0;  // output channels that have yet to read `in`
    for (int64_t left = (a.end - a.begin) * a.multiplier; left > 0; left--, w += K * K, bias++, out += a.y_plane) {
      if (users == 0) {
        in = a.x + at;
        if (at < ES_DW_BEFORE || floats - at - size < ES_DW_BEHIND) {
          for (int64_t i = 0; i < size; i++) a.scratch[ES_DW_BEFORE + i] = in[i];
          in = a.scratch + ES_DW_BEFORE;
        }
        users = a.multiplier, at += a.x_plane;
      }
      users--;
      if (how == ROWS) es_dw_rows(d, &edges, S, in, w, *bias, out);
      else if (how == DOWN) es_dw_plane(d, K, S, in, w, *bias, out, 0, d->rows);
      else es_strip_plane4(layout, S, how, in, w, *bias, out, d->height, d->width, d->rows, d->columns, d->top);
      if (d->act > ES_ACT_CLIP) es_act_row(out, out, size_y, d->act, slope ? *slope++ : a.lo, d->act_hi);
      if (a.padding) es_zero(out + size_y, a.padding);
    }
  }
}

#define ES_DW(name, K, S, how) \
  __attribute__((noinline)) static void name(const es_dw_call *call) { es_dw_channels(call, K, S, how); }
ES_DW(es_dw_3x3, 3, 1, DOWN)
ES_DW(es_dw_3x3_2, 3, 2, DOWN)
ES_DW(es_dw_5x5, 5, 1, DOWN)
ES_DW(es_dw_5x5_2, 5, 2, DOWN)
#if ES_ROWS
ES_DW(es_dw_rows_1, 3, 1, ROWS)
ES_DW(es_dw_rows_2, 3, 2, ROWS)
#endif
#if ES_STRIPS
ES_DW(es_dw_strips, 3, 1, 1)
ES_DW(es_dw_strips_2, 3, 2, 0)
ES_DW(es_dw_strips_2_left, 3, 2, 1)
#endif

// y[i, c*m + k, r, q] = act(bias[c*m + k] + sum_a,b w[c*m + k, a, b] * x[i, c, r*stride + a - top, q*stride + b - left])
// with m = multiplier and zeros outside of x; kernel is 3 or 5, stride 1 or 2; top, left < kernel.
// x: (images, channels, height, width), planes x_plane apart; w: (channels * m, kernel, kernel); slope: per output channel or null;
// y: (images, channels * m, rows, columns), planes y_plane apart, `padding` zeros behind each; scratch:
// ES_DW_BEFORE + height * width + ES_DW_BEHIND floats, and the same again for a row of zeros.
// Channels begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(depthwise_square_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                                     float *scratch, int64_t begin, int64_t end, int64_t images, int64_t channels,
                                     int64_t multiplier, int64_t height, int64_t width, int64_t x_plane, int64_t rows,
                                     int64_t columns, int64_t y_plane, int64_t padding, int64_t kernel, int64_t stride,
                                     int64_t top, int64_t left, int64_t act, float lo, float hi) {
  es_dw_call call = {
      {height, width, rows, columns, top, left, act, lo, hi, hi},
      x, w, bias, slope, y, scratch, begin, end, images, channels, multiplier, x_plane, y_plane, padding, lo,
  };
  es_depthwise *d = &call.plane;
  if (!es_act_bounds(act, &d->lo, &d->hi)) d->lo = -__builtin_inff(), d->hi = __builtin_inff();
#if ES_STRIPS
  if (kernel == 3 && es_strips_fit4(stride, height, width, rows, columns, top, left)) {
    if (stride == 1) es_dw_strips(&call);
    else if (left) es_dw_strips_2_left(&call);
    else es_dw_strips_2(&call);
    return;
  }
#endif
#if ES_ROWS
  if (kernel == 3 && es_dw_rows_fit(d, stride)) {
    if (stride == 1) es_dw_rows_1(&call);
    else es_dw_rows_2(&call);
    return;
  }
#endif
  if (kernel == 3 && stride == 1) es_dw_3x3(&call);
  else if (kernel == 3) es_dw_3x3_2(&call);
  else if (stride == 1) es_dw_5x5(&call);
  else es_dw_5x5_2(&call);
}
