// edgesparse-kernel: op=depthwise_square dtype=f16 isa=neon,neon_fp16
#include "half.h"
#include "depthwise_square.h"

#define ES_WIDE(f) ES_CAT(f, ES_VL, )
#define ES_WIDTH ES_VL
#define ES_MAX_N 4
#include "depthwise_strips.h"
#if ES_VL > 4  // planes of 5 to 8 columns
#define ES_WIDTH 4
#define ES_MAX_N 2
#include "depthwise_strips.h"
#endif

// All arguments of a call. One function per kernel size and stride has the loop over the channels inside.
typedef struct {
  es_depthwise plane;
  const _Float16 *x, *w;
  const float *bias, *slope;
  _Float16 *y, *scratch;
  int64_t begin, end, images, channels, multiplier, x_plane, y_plane;
  float lo;  // as given; the slope of a leaky Relu
} es_dw_call;

enum { NO_STRIPS = -1 };  // else the columns of the left border

// `narrow`: strips of vectors of four.
ES_INLINE void es_dw_channels(const es_dw_call *call, const int K, const int S, const int strips, const int narrow) {
  const es_dw_call a = *call;
  const es_depthwise *d = &a.plane;
  const int64_t size = d->height * d->width, columns = d->columns, size_y = d->rows * columns;
  const int64_t all = a.images * a.channels * a.x_plane;
  const ES_WIDE(es_strip) wide = ES_WIDE(es_strip_layout)(d->columns, d->lo, d->hi);
  const es_strip4 four = es_strip_layout4(d->columns, d->lo, d->hi);
  for (int64_t image = 0; image < a.images; image++)
    for (int64_t c = a.begin; c < a.end; c++) {
      const int64_t at = (image * a.channels + c) * a.x_plane;
      const _Float16 *in = a.x + at;
      if (at < ES_DW_BEFORE || all - at - size < ES_DW_BEHIND) {  // what is read beside it must exist
        for (int64_t i = 0; i < size; i++) a.scratch[ES_DW_BEFORE + i] = in[i];
        in = a.scratch + ES_DW_BEFORE;
      }
      for (int64_t k = c * a.multiplier; k < (c + 1) * a.multiplier; k++) {
        _Float16 *out = a.y + (image * a.channels * a.multiplier + k) * a.y_plane;
        const _Float16 *w = a.w + k * K * K;
        const float bias = a.bias[k];
        if (strips == NO_STRIPS) es_dw_plane(d, K, S, in, w, bias, out, 0, d->rows);
        else if (narrow)
          es_strip_plane4(four, S, strips, in, w, bias, out, d->height, d->width, d->rows, columns, d->top);
        else ES_WIDE(es_strip_plane)(wide, S, strips, in, w, bias, out, d->height, d->width, d->rows, columns, d->top);
        if (d->act > ES_ACT_CLIP) act_halves(out, out, size_y, d->act, a.slope ? a.slope[k] : a.lo, d->act_hi);
        zero_halves(out + size_y, a.y_plane - size_y);
      }
    }
}

#define ES_DW(name, K, S, strips, narrow) \
  __attribute__((noinline)) static void name(const es_dw_call *call) { es_dw_channels(call, K, S, strips, narrow); }
ES_DW(es_dw_3x3, 3, 1, NO_STRIPS, 0)
ES_DW(es_dw_3x3_2, 3, 2, NO_STRIPS, 0)
ES_DW(es_dw_5x5, 5, 1, NO_STRIPS, 0)
ES_DW(es_dw_5x5_2, 5, 2, NO_STRIPS, 0)
ES_DW(es_dw_strips, 3, 1, 1, 0)
ES_DW(es_dw_strips_2, 3, 2, 0, 0)
ES_DW(es_dw_strips_2_left, 3, 2, 1, 0)
#if ES_VL > 4
ES_DW(es_dw_narrow, 3, 1, 1, 1)
ES_DW(es_dw_narrow_2, 3, 2, 0, 1)
ES_DW(es_dw_narrow_2_left, 3, 2, 1, 1)
#endif

// The arguments are those of depthwise_square_f32, see there; x, w, y and scratch are halves.
void ES_KERNEL(depthwise_square_f16)(const _Float16 *x, const _Float16 *w, const float *bias, const float *slope,
                                     _Float16 *y, _Float16 *scratch, int64_t begin, int64_t end, int64_t images,
                                     int64_t channels, int64_t multiplier, int64_t height, int64_t width,
                                     int64_t x_plane, int64_t rows, int64_t columns, int64_t y_plane, int64_t kernel,
                                     int64_t stride, int64_t top, int64_t left, int64_t act, float lo, float hi) {
  es_dw_call call = {
      {height, width, rows, columns, top, left, act, lo, hi, hi},
      x, w, bias, slope, y, scratch, begin, end, images, channels, multiplier, x_plane, y_plane, lo,
  };
  es_depthwise *d = &call.plane;
  if (!es_act_bounds(act, &d->lo, &d->hi)) d->lo = -__builtin_inff(), d->hi = __builtin_inff();
  if (kernel == 3 && ES_WIDE(es_strips_fit)(stride, height, width, rows, columns, top, left)) {
    if (stride == 1) es_dw_strips(&call);
    else if (left) es_dw_strips_2_left(&call);
    else es_dw_strips_2(&call);
    return;
  }
#if ES_VL > 4
  if (kernel == 3 && es_strips_fit4(stride, height, width, rows, columns, top, left)) {
    if (stride == 1) es_dw_narrow(&call);
    else if (left) es_dw_narrow_2_left(&call);
    else es_dw_narrow_2(&call);
    return;
  }
#endif
  if (kernel == 3 && stride == 1) es_dw_3x3(&call);
  else if (kernel == 3) es_dw_3x3_2(&call);
  else if (stride == 1) es_dw_5x5(&call);
  else es_dw_5x5_2(&call);
}
