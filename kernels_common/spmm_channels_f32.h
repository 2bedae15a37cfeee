// spmm_f32 (see spmm.h for what it computes and its arguments) with output channels in the lanes of vectors and
// pixels broadcast, where spmm.h has it the other way round:
//
//            weights of one entry                    registers: NP pixels x MR / ES_VL vectors of channels
//            [ n0 .. n7 ][ n8 .. n15 ]        ->     [p0 n0..n7][p0 n8..n15]
//   x[p0]    broadcast                               [p1 n0..n7][p1 n8..n15]  ...
//
// Planes of 7x7 are 49 pixels: 7 vectors of 8, of which one is nearly empty, but 9 tiles of 5 or 6 pixels. For dense
// layers and blocks of MR output channels. A block's weights are used up to KC entries at a time, from L1, for
// all tiles of a group of pixels; sums wait in `sums` meanwhile.
#include "es.h"
#include "activation_f32.h"
#include "mean_f32.h"

enum { ROW = MR / ES_VL, KC = 64, GROUP = 104, SIDE = ES_VL == 4 ? 4 : 8 };  // SIDE: of what is transposed at a time

_Static_assert(MR % ES_VL == 0 && ES_VL % SIDE == 0, "blocks are whole vectors, which are whole transposed squares");

typedef float square_row __attribute__((vector_size(4 * SIDE), aligned(4)));

typedef struct {
  const float *bias, *residual, *slope;
  float *y;       // of channel `first`
  int64_t first, y_plane, residual_plane, act;
  float lo, hi;
  int clamped;
} es_channels;

// `count` entries for the n pixels at x: sums[pixel][channel] += w x, beginning with `bias` where there is one. The
// weights `ahead` floats on are asked for early.
ES_INLINE void channels_tile(const int n, const float *x, const float *w, const int32_t *offset, int64_t count,
                             const float *bias, float *sums, int64_t ahead) {
  vf acc[NP][ROW];
#pragma unroll
  for (int q = 0; q < n; q++)
#pragma unroll
    for (int c = 0; c < ROW; c++) acc[q][c] = load_vf(bias ? bias + c * ES_VL : sums + q * MR + c * ES_VL);
#pragma unroll 1
  for (int64_t j = 0; j < count; j++, w += MR) {
    const float *p = (const float *)((const char *)x + offset[j]);
    __builtin_prefetch(w + ahead);
    vf weight[ROW];
#pragma unroll
    for (int c = 0; c < ROW; c++) weight[c] = load_vf(w + c * ES_VL);
#pragma unroll
    for (int q = 0; q < n; q++) {
      const vf in = splat_vf(p[q]);
#pragma unroll
      for (int c = 0; c < ROW; c++) acc[q][c] += weight[c] * in;
    }
  }
#pragma unroll
  for (int q = 0; q < n; q++)
#pragma unroll
    for (int c = 0; c < ROW; c++) store_vf(sums + q * MR + c * ES_VL, acc[q][c]);
}

// to[i][q] = from[q][i] for i, q < SIDE; rows of `from` lie MR apart, rows of `to` GROUP.
ES_INLINE square_row row_at(const float *from) { return *(const square_row *)from; }
ES_INLINE void put_row(float *to, square_row row) { *(square_row *)to = row; }

#if ES_VL == 4
ES_INLINE void transpose(const float *from, float *to) {
  const square_row a = row_at(from), b = row_at(from + MR), c = row_at(from + 2 * MR), d = row_at(from + 3 * MR);
  const square_row low = __builtin_shufflevector(a, b, 0, 4, 1, 5), high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const square_row low2 = __builtin_shufflevector(c, d, 0, 4, 1, 5), high2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  put_row(to, __builtin_shufflevector(low, low2, 0, 1, 4, 5));
  put_row(to + GROUP, __builtin_shufflevector(low, low2, 2, 3, 6, 7));
  put_row(to + 2 * GROUP, __builtin_shufflevector(high, high2, 0, 1, 4, 5));
  put_row(to + 3 * GROUP, __builtin_shufflevector(high, high2, 2, 3, 6, 7));
}
#else
ES_INLINE void transpose(const float *from, float *to) {
  square_row a[8], b[8];
#pragma unroll
  for (int i = 0; i < 8; i++) a[i] = row_at(from + i * MR);
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma unroll
  for (int i = 0; i < 8; i += 4)
#pragma unroll
    for (int k = 0; k < 2; k++) {
      a[i + 2 * k] = __builtin_shufflevector(b[i + k], b[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[i + 2 * k + 1] = __builtin_shufflevector(b[i + k], b[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    put_row(to + i * GROUP, __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    put_row(to + (i + 4) * GROUP, __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}
#endif

// `count` pixels of one channel: residual, activation, store.
ES_INLINE void channels_row(const es_channels *s, const float *from, int64_t channel, int64_t at, int64_t count) {
  float *y = s->y + (channel - s->first) * s->y_plane + at;
  const float *residual = s->residual ? s->residual + channel * s->residual_plane + at : 0;
  for (int64_t i = 0; i < count; i += ES_VL) {
    const int64_t some = count - i < ES_VL ? count - i : ES_VL;
    vf value = load_vf(from + i);
    if (residual) value += load_some(residual + i, some, 0);
    store_some(y + i, some, s->clamped ? ES_CAT(es_clamp, ES_VL, )(value, s->lo, s->hi) : value);
  }
  if (!s->clamped) es_act_row(y, y, count, s->act, s->slope ? s->slope[channel] : s->lo, s->hi);
}

void ES_KERNEL(spmm_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y, float *scratch,
                         int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image,
                         int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  (void)spare;
  es_channels s = {bias, residual, slope, y, 0, y_plane, residual_plane, act, lo, hi, 0};
  s.clamped = es_act_bounds(act, &s.lo, &s.hi);
  float sums[(GROUP + ES_VL) * MR], turned[SIDE * GROUP + ES_VL];
  for (int64_t image = 0; image < images; image++) {
    for (int64_t b = begin; b < end; b++) {
      if (scratch) s.y = scratch, s.first = b * MR;  // planes of which only the means are written
      const int64_t first = start[b], stop = start[b + 1];
      for (int64_t r = 0; r < rows; r++)
        for (int64_t p0 = 0, count = 0; p0 < columns; p0 += count) {
          const float *pixels = x + image * x_image + r * x_row + p0;
          const int64_t left = columns - p0, groups = (left + GROUP - 1) / GROUP;
          count = (left + groups - 1) / groups;  // all about the same
          const int64_t tiles = (count + NP - 1) / NP;
          const int64_t base = count / tiles, longer = count % tiles;
          int64_t j = first;
          do {
            const int64_t entries = stop - j < KC ? stop - j : KC;
            for (int64_t t = 0, p = 0; t < tiles; t++) {
              const int64_t n = base + (t < longer);
              const float *from = j == first ? bias + b * MR : 0;
              switch (n) {
#define ES_CASE(n) \
  case n: channels_tile(n, pixels + p, w + j * MR, offset + j, entries, from, sums + p * MR, t ? 0 : KC * MR); break;
                ES_CASE(1)
                ES_CASE(2)
#if NP > 2
                ES_CASE(3)
                ES_CASE(4)
                ES_CASE(5)
                ES_CASE(6)
#endif
#if NP > 6
                ES_CASE(7)
                ES_CASE(8)
                ES_CASE(9)
                ES_CASE(10)
                ES_CASE(11)
                ES_CASE(12)
                ES_CASE(13)
                ES_CASE(14)
                ES_CASE(15)
                ES_CASE(16)
                ES_CASE(17)
                ES_CASE(18)
                ES_CASE(19)
                ES_CASE(20)
                ES_CASE(21)
                ES_CASE(22)
                ES_CASE(23)
                ES_CASE(24)
                ES_CASE(25)
#endif
#undef ES_CASE
              }
              p += n;
            }
            j += KC;
          } while (j < stop);
          for (int64_t c = 0; c < MR && b * MR + c < channels; c += SIDE) {
            for (int64_t p = 0; p < count; p += SIDE) transpose(sums + p * MR + c, turned + p);
            for (int64_t i = 0; i < SIDE && b * MR + c + i < channels; i++) {
              const float *row = turned + i * GROUP;
              const int64_t channel = b * MR + c + i;
              if (pitch <= valid) {
                channels_row(&s, row, channel, r * columns + p0, count);
                continue;
              }
              for (int64_t p = 0; p < count;) {  // output rows lie end to end, `pitch` apart
                const int64_t at = (p0 + p) % pitch, line = (p0 + p) / pitch;
                const int64_t length = valid - at < count - p ? valid - at : count - p;
                if (length > 0) channels_row(&s, row + p, channel, line * valid + at, length);
                p += pitch - at;
              }
            }
          }
        }
      for (int64_t c = b * MR; c < (b + 1) * MR && c < channels; c++) {
        float *row = s.y + (c - s.first) * y_plane;
        if (scratch) y[image * channels + c] = es_mean(row, plane);
        else es_zero(row + plane, y_plane - plane);
      }
    }
    if (!scratch) s.y += channels * y_plane;
    if (residual) s.residual += channels * residual_plane;
  }
}
