// Sparse (and dense) weights times planes of activations: every convolution but depthwise.
//
//   y[n, r, p] = act(bias[n] + sum_j w[n, j] * x[offset_j + r * x_row + p]  (+ residual[n, r, p]))
//
// The output channels are cut into blocks of MR. A block lists the (input channel, kernel position)
// pairs it keeps as byte offsets into x, and for each the MR weights side by side. A dense layer is
// the same list with nothing left out. One pixel tile is NV vectors wide:
//
//            x tile, NV vectors (L1)            registers: MR x NV accumulators
//   w[j][0]  [ v0 ][ v1 ][ v2 ][ v3 ]     ->    [a00][a01][a02][a03]
//   w[j][1]       one row of x is loaded        [a10][a11][a12][a13]
//   ...           once for MR output channels   ...
//
// Included by kernels_*/spmm_f32__*.c, which say which MR x NV fit the registers of the ISA.
#include "es.h"
#include "activation_f32.h"

// Lane i of four weights in every lane: `fmla v.4s, v.4s, v.s[i]` on NEON, a memory broadcast on
// AVX. i is a constant once the caller's loop is unrolled.
#define ES_LANE1(q, i) ((vf1){(q)[i]})
#define ES_LANE4(q, i) __builtin_shufflevector(q, q, i, i, i, i)
#define ES_LANE8(q, i) __builtin_shufflevector(q, q, i, i, i, i, i, i, i, i)
#define ES_LANE16(q, i) __builtin_shufflevector(q, q, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i)

// x86 broadcasts each weight from memory. Left alone, the compiler loads all weights of an entry first and
// spills: 4 x 3 accumulators, 3 vectors of x and one weight are all 16 registers of AVX2.
#if defined(__x86_64__)
#define ES_IN_ORDER() __asm__ volatile("" ::: "memory")
#else
#define ES_IN_ORDER() ((void)0)
#endif

// The x tile of a wide layer is larger than L1, and its rows are too far apart for the hardware to see a
// pattern: out-of-order x86 cores gain up to 10% when the row ES_AHEAD entries on is asked for early. With fewer
// multiply-adds to an entry the loads are the limit, and every further one costs.
#if defined(__x86_64__) && MR >= 4
#define ES_AHEAD 8  // packing.AHEAD: so many offsets may be read behind the last
#define ES_PREFETCH(x, offset, floats)                                                  \
  __builtin_prefetch((const char *)(x) + (offset)[ES_AHEAD]);                           \
  if ((floats) > 16) __builtin_prefetch((const char *)(x) + (offset)[ES_AHEAD] + 64)
// What the next tile will write is asked for while this one is computed: planes of 112x112 are far larger than L2,
// and stores wait for their lines one after the other (1.3 times as fast in MobileNetV1's first layers). Where L2 holds
// all of y it costs up to 5 of 45 cycles that a block takes beside its multiply-adds.
#define ES_FAR_BYTES (1 << 19)
#define ES_PREFETCH_Y(y, plane, floats)                              \
  for (int i_ = 0; i_ < MR; i_++) {                                  \
    __builtin_prefetch((y) + i_ * (plane), 1);                       \
    if ((floats) > 16) __builtin_prefetch((y) + i_ * (plane) + 16, 1); \
  }
#else
#define ES_FAR_BYTES INT64_MAX
#define ES_PREFETCH(x, offset, floats) ((void)0)
#define ES_PREFETCH_Y(y, plane, floats) ((void)0)
#endif

// What does not change during one call.
typedef struct {
  const float *w, *bias, *residual, *slope;
  const int32_t *offset, *start;
  float *y;
  int64_t begin, end, channels, y_plane, residual_plane, act;
  float lo, hi;
  int clamped, clamps;  // the activation is min(max(y, lo), hi); and there is no residual before it
  int far;              // y is larger than L2
} es_spmm;

// Where the pixels of a tile go when rows of x are wider than rows of y: pieces (from, to, length).
typedef struct {
  int32_t count;
  int32_t from[ES_VL * NV + 1], to[ES_VL * NV + 1], length[ES_VL * NV + 1];
} es_pieces;

#define ES_WIDTH ES_VL
#define ES_MAX_N NV
#include "spmm_tile_f32.h"
// The ends of rows, where they are shorter than a vector: fewer vectors, so that they do not spill either.
#if MR > 8
#define ES_MAX_SHORT 1
#define ES_MAX_SINGLE 1
#else
#define ES_MAX_SHORT 2
#define ES_MAX_SINGLE 3
#endif
#if ES_VL > 8
#define ES_WIDTH 8
#define ES_MAX_N ES_MAX_SHORT
#include "spmm_tile_f32.h"
#endif
#if ES_VL > 4
#define ES_WIDTH 4
#define ES_MAX_N ES_MAX_SHORT
#include "spmm_tile_f32.h"
#endif
#if ES_VL > 1
#define ES_WIDTH 1
#define ES_MAX_N ES_MAX_SINGLE
#include "spmm_tile_f32.h"
#endif

#if defined(__aarch64__) && MR % 4 == 0
#define ES_PIXEL 1
#include "spmm_pixel_f32.h"
#else
#define ES_PIXEL 0
#endif

// One row of `columns` pixels: tiles of at most NV vectors, as even as possible; the last vector
// is moved left so that it ends with the row (it computes a few pixels twice, reads nothing beyond).
ES_INLINE void spmm_row(const es_spmm *s, const float *x, int64_t y0, int64_t columns, int64_t pitch, int64_t valid) {
#if ES_PIXEL
  if (spmm_ends_with_pixel(s, columns, pitch, valid)) {
    int64_t p = 0;
    for (; p + NV * 4 + 1 < columns; p += NV * 4) spmm_tile4(s, NV, x + p, y0, p, ES_LAST, pitch, valid);
    spmm_tile_pixel(s, x + p, y0 + p);
    return;
  }
#endif
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
#if ES_VL > 8
  ES_WIDE(8, ES_MAX_SHORT)
#endif
#if ES_VL > 4
  ES_WIDE(4, ES_MAX_SHORT)
#endif
#if ES_VL > 1
  ES_WIDE(1, ES_MAX_SINGLE)
#endif
#undef ES_WIDE
}

// x: planes of activations; residual (may be null) and y: (images, channels, plane), planes residual_plane and
// y_plane apart. The first `spare` floats behind each plane of y, x and residual may be computed, too: with whole
// vectors to the end nothing is computed twice. What is left of the padding of y is set to zero.
// start: (blocks + 1), where a block's kept entries begin; offset: byte offsets, one per entry;
// w: (entries, MR); bias and slope (may be null): (blocks * MR).
// Blocks begin..end-1 are computed. Each image has `rows` rows of `columns` pixels, x_row floats
// apart. When pitch > valid the pixels of a row are those of several output rows, laid `pitch`
// apart, of which the first `valid` are kept. y must not overlap x or residual.
void ES_KERNEL(spmm_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y,
                         int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image,
                         int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  es_spmm s = {w, bias, residual, slope, offset, start, y, begin, end, channels, y_plane, residual_plane, act, lo, hi, 0, 0, 0};
  const int64_t whole = (columns + ES_VL - 1) / ES_VL * ES_VL;
  s.clamped = es_act_bounds(act, &s.lo, &s.hi);
  s.clamps = s.clamped && !residual;
  s.far = channels * y_plane * (int64_t)sizeof(float) > ES_FAR_BYTES;
#if ES_PIXEL
  if (spmm_ends_with_pixel(&s, columns, pitch, valid)) spare = 0;
#endif
  const int64_t written = whole - columns <= spare ? plane + whole - columns : plane;
  if (written > plane) columns = whole;
  for (int64_t image = 0; image < images; image++) {
    for (int64_t r = 0; r < rows; r++)
      spmm_row(&s, x + image * x_image + r * x_row, r * columns, columns, pitch, valid);
    for (int64_t c = begin * MR; c < end * MR && c < channels; c++) es_zero(s.y + c * y_plane + written, y_plane - written);
    s.y += channels * y_plane;
    if (residual) s.residual += channels * residual_plane;
  }
}
