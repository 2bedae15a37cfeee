// edgesparse-kernel: op=entry dtype=f32 isa=any
//
// A convolution of few input channels that reads its input where it is, in any layout: the first one of most networks,
// for which a bordered copy would take as long as a third of the arithmetic. Output channels are in the lanes of
// vectors and pixels are broadcast, as in spmm_channels_f32.h, so that neither a stride nor channels that come last
// make a difference:
//
//            weights of one tap                      registers: NP pixels x ROW vectors of channels
//            [ n0 .. n7 ][ n8 .. n15 ]        ->     [p0 n0..n7][p0 n8..n15]
//   x[p0]    broadcast                               [p1 n0..n7][p1 n8..n15]  ...
//
// Taps are in the order (ky, input channel, kx): at the upper and lower border, those of rows outside are left out from
// its ends. The tiles at the left and right border read copies of their columns with zeros beside them; the others have
// no border.
#include "es.h"
#include "activation_f32.h"
#include "transpose_f32.h"

// A register tile is NP pixels (at most NP in ops/entry.py) times ROW vectors of channels: 16 registers hold 12 sums
// beside weights and a pixel, V8 gives 8 of them.
#if ES_VL == 16
#define NP 12
#define ROW 1
#elif defined(__aarch64__)
#define NP 6
#define ROW 4
#elif defined(__wasm__)
#define NP 4
#define ROW 2
#elif ES_VL > 1
#define NP 6
#define ROW 2
#else
#define NP 1
#define ROW 4
#endif

enum {
  BLOCK = 16,   // output channels of a block: BLOCK in ops/entry.py
  GROUP = 112,  // pixels whose sums wait until they are stored in whole vectors: GROUP in ops/entry.py
};

typedef struct {
  const float *slope;
  float *y;  // of the image
  int64_t channels, y_plane, act;
  float lo, hi, slope_lo, act_hi;  // first to where sums are clamped, then as given
  int clamped;                     // that is all
} es_entry_out;

// sums[pixel][channel] = bias + `count` taps for n pixels, `step` floats apart.
ES_INLINE void es_entry_tile(const int n, const float *x, int64_t step, const float *w, const int32_t *offset,
                             int64_t count, const float *bias, float *sums) {
  vf acc[NP][ROW];
#pragma unroll
  for (int q = 0; q < n; q++)
#pragma unroll
    for (int c = 0; c < ROW; c++) acc[q][c] = load_vf(bias + c * ES_VL);
#pragma unroll 1
  for (int64_t j = 0; j < count; j++, w += BLOCK) {
    const float *p = (const float *)((const char *)x + offset[j]);
    vf weight[ROW];
#pragma unroll
    for (int c = 0; c < ROW; c++) weight[c] = load_vf(w + c * ES_VL);
#pragma unroll
    for (int q = 0; q < n; q++) {
      const vf in = splat_vf(p[q * step]);
#pragma unroll
      for (int c = 0; c < ROW; c++) acc[q][c] += weight[c] * in;
    }
  }
#pragma unroll
  for (int q = 0; q < n; q++)
#pragma unroll
    for (int c = 0; c < ROW; c++) store_vf(sums + q * BLOCK + c * ES_VL, acc[q][c]);
}

ES_INLINE void es_entry_pixels(int64_t n, const float *x, int64_t step, const float *w, const int32_t *offset,
                               int64_t count, const float *bias, float *sums) {
#pragma unroll 1
  for (int c = 0; c < BLOCK; c += ROW * ES_VL) switch (n) {
#define ES_CASE(n) case n: es_entry_tile(n, x, step, w + c, offset, count, bias + c, sums + c); break;
      ES_CASE(1)
#if NP >= 3
      ES_CASE(2)
      ES_CASE(3)
#endif
#if NP >= 4
      ES_CASE(4)
#endif
#if NP >= 6
      ES_CASE(5)
      ES_CASE(6)
#endif
#if NP >= 12
      ES_CASE(7)
      ES_CASE(8)
      ES_CASE(9)
      ES_CASE(10)
      ES_CASE(11)
      ES_CASE(12)
#endif
#undef ES_CASE
    }
}

// Asks for the cache lines of all channels of `block` that sums will be stored to: they are pages apart, which no
// hardware foresees.
ES_INLINE void es_entry_ask(const es_entry_out *out, int64_t block, int64_t pixel) {
  for (int64_t channel = block * BLOCK; channel < (block + 1) * BLOCK && channel < out->channels; channel++)
    __builtin_prefetch(out->y + channel * out->y_plane + pixel, 1);
}

// ES_TURN pixels of as many channels: transposed, activated, stored to y[channel * y_plane + pixel].
ES_INLINE void es_entry_square(const es_entry_out *out, const float *sums, float *y, int64_t y_plane) {
  es_turn v[ES_TURN];
  es_turned(sums, BLOCK, v);
#pragma unroll
  for (int i = 0; i < ES_TURN; i++) es_turn_store(y + i * y_plane, es_turn_clamp(v[i], out->lo, out->hi));
}

// The sums of `count` pixels of one block to their places, `at` pixels into each plane.
static void es_entry_store(const es_entry_out *out, const float *sums, int64_t block, int64_t at, int64_t count) {
  for (int64_t c = 0, channel = block * BLOCK; c < BLOCK && channel < out->channels; c += ES_TURN, channel += ES_TURN) {
    float *y = out->y + channel * out->y_plane + at;
    const int64_t live = out->channels - channel < ES_TURN ? out->channels - channel : ES_TURN;
    int64_t p = 0;
    if (live == ES_TURN && count >= ES_TURN) {
      for (; p + ES_TURN <= count; p += ES_TURN) es_entry_square(out, sums + p * BLOCK + c, y + p, out->y_plane);
      if (p < count)  // some once more, instead of a part of a vector
        es_entry_square(out, sums + (count - ES_TURN) * BLOCK + c, y + count - ES_TURN, out->y_plane);
      p = count;
    }
    for (; p < count; p += ES_TURN) {
      float square[ES_TURN * ES_TURN];
      es_entry_square(out, sums + p * BLOCK + c, square, ES_TURN);
      for (int64_t i = 0; i < live; i++)
        for (int64_t k = 0; k < ES_TURN && p + k < count; k++) y[i * out->y_plane + p + k] = square[i * ES_TURN + k];
    }
    if (out->clamped) continue;
    for (int64_t i = 0; i < live; i++) {
      float *row = y + i * out->y_plane;
      es_act_row(row, row, count, out->act, out->slope ? out->slope[channel + i] : out->slope_lo, out->act_hi);
    }
  }
}

// y[i, n, r, q] = act(bias[n] + sum_ky,c,kx w[n, c, ky, kx] * x[i, c, r*stride_y - top + ky, q*stride_x - left + kx])
// with zeros outside of x's height and width; left >= 0. Element (i, c, r, q) of x is
// x[i*x_image + c*x_channel + r*x_row + q*x_pixel]. w: (blocks, kernel_y, in_channels, kernel_x, BLOCK); bias: (blocks,
// BLOCK); slope: per output channel or null. Blocks begin..end-1 are computed. y: planes of rows * columns, y_plane
// apart, and y_image from one image to the next; `padding` floats behind each plane become zero.
// A range of rows is a call of its own, with `y` at its first row and `top` that many strides less.
// scratch: scratch_bytes in ops/entry.py.
void ES_KERNEL(entry_f32)(const float *x, const float *w, const float *bias, const float *slope, float *y,
                          float *scratch, int64_t begin, int64_t end, int64_t images, int64_t in_channels,
                          int64_t channels, int64_t height, int64_t width, int64_t x_image, int64_t x_channel,
                          int64_t x_row, int64_t x_pixel, int64_t rows, int64_t columns, int64_t y_image,
                          int64_t y_plane, int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x,
                          int64_t top, int64_t left, int64_t padding, int64_t act, float lo, float hi) {
  const int64_t line_taps = in_channels * kernel_x, taps = kernel_y * line_taps;
  es_entry_out out = {slope, y, channels, y_plane, act, lo, hi, lo, hi, 0};
  out.clamped = es_act_bounds(act, &out.lo, &out.hi);
  if (!out.clamped) out.lo = -__builtin_inff(), out.hi = __builtin_inff();

  // Pixels before `inner` need the left border, those from `outer` on the right one. Their tiles reach up to NP - 1
  // pixels further: the copies, of `strip` pixels at either end, hold the columns of all of these.
  int64_t inner = (left + stride_x - 1) / stride_x, outer = width - kernel_x + left;
  outer = outer < 0 ? 0 : outer / stride_x + 1;
  if (inner > columns) inner = columns;
  if (outer > columns) outer = columns;
  int64_t strip = inner > columns - outer ? inner : columns - outer;
  if (strip) strip = strip + NP - 1 < columns ? strip + NP - 1 : columns;
  const int64_t pitch = strip ? (strip - 1) * stride_x + kernel_x : 0, copy = kernel_y * in_channels * pitch;
  int32_t *offset = (int32_t *)scratch, *offset_copy = offset + taps;  // bytes from the first tap to each
  float *copies = (float *)(offset_copy + taps);
  for (int64_t ky = 0, j = 0; ky < kernel_y; ky++)
    for (int64_t c = 0; c < in_channels; c++)
      for (int64_t kx = 0; kx < kernel_x; kx++, j++) {
        offset[j] = (int32_t)((c * x_channel + ky * x_row + kx * x_pixel) * 4);
        offset_copy[j] = (int32_t)(((ky * in_channels + c) * pitch + kx) * 4);
      }

  const int64_t lines = columns < GROUP ? GROUP / columns : 1;  // short rows are stored together
  float sums[(GROUP + ES_TURN) * BLOCK];
  for (int64_t image = 0; image < images; image++, x += x_image, out.y += y_image) {
    for (int64_t r0 = 0; r0 < rows; r0 += lines) {
      const int64_t some = rows - r0 < lines ? rows - r0 : lines;
      for (int64_t side = 0; side < 2; side++) {
        if (side ? outer == columns : inner == 0) continue;
        const int64_t column = (side ? columns - strip : 0) * stride_x - left;
        for (int64_t line = 0; line < some; line++) {
          float *to = copies + (line * 2 + side) * copy;
          for (int64_t ky = 0; ky < kernel_y; ky++) {
            const int64_t row = (r0 + line) * stride_y - top + ky;
            for (int64_t c = 0; c < in_channels; c++, to += pitch) {
              if (row < 0 || row >= height) continue;  // not read
              const float *from = x + c * x_channel + row * x_row;
              int64_t first = column < 0 ? -column : 0, last = width - column < pitch ? width - column : pitch, i = 0;
              for (; i < first && i < pitch; i++) to[i] = 0;
              for (; i < last; i++) to[i] = from[(column + i) * x_pixel];
              for (; i < pitch; i++) to[i] = 0;
            }
          }
        }
      }
      for (int64_t b = begin; b < end; b++) {
        for (int64_t q0 = 0; q0 < columns; q0 += GROUP) {
          const int64_t count = columns - q0 < GROUP ? columns - q0 : GROUP, tiles = (count + NP - 1) / NP;
          const int64_t base = count / tiles, longer = count % tiles;
          float *to = sums;
          for (int64_t line = 0; line < some; line++) {
            const int64_t row = (r0 + line) * stride_y - top;
            int64_t ky = row < 0 ? -row : 0, stop = height - row < kernel_y ? height - row : kernel_y;
            if (stop < ky) stop = ky = 0;
            const int64_t first = ky * line_taps, entries = (stop - ky) * line_taps;
            const float *weights = w + (b * taps + first) * BLOCK;
            for (int64_t t = 0, q = q0, n; t < tiles; t++, q += n, to += n * BLOCK) {
              n = base + (t < longer);
              if (t == 0 || q / 16 != (q - n) / 16) es_entry_ask(&out, b, (r0 + line) * columns + q);
              if (q >= inner && q + n <= outer) {
                const float *from = x + row * x_row + (q * stride_x - left) * x_pixel;
                es_entry_pixels(n, from, stride_x * x_pixel, weights, offset + first, entries, bias + b * BLOCK, to);
              } else {
                const int64_t side = q >= inner, pixel = side ? q - (columns - strip) : q;
                const float *from = copies + (line * 2 + side) * copy + pixel * stride_x;
                es_entry_pixels(n, from, stride_x, weights, offset_copy + first, entries, bias + b * BLOCK, to);
              }
            }
          }
          es_entry_store(&out, sums, b, r0 * columns + q0, some * count);
        }
      }
    }
    for (int64_t c = begin * BLOCK; c < end * BLOCK && c < channels; c++)
      es_zero(out.y + c * y_plane + rows * columns, padding);
  }
}
