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
// kernels_*/spmm_*.c say which MR x NV fit the registers of the ISA. Included by spmm_f32.h and, for halves,
// kernels_arm/spmm_f16.h, which say what differs:
//
//   ES_T, ES_V, ..              see element_f32.h
//   ES_MEAN                     the mean of a row, as es_mean in mean_f32.h
//   ES_AT_ONCE                  weights that are loaded as one vector, where their lanes are used
//   ES_FOLD                     entries that are added up as halves, before these are added up as floats; 0: all
//   ES_MAX_SHORT, ES_MAX_SINGLE vectors of a tile for the ends of rows, where these are shorter than a vector

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

// What does not change while tiles are computed, of blocks 0..blocks-1: all pointers begin with the first of them.
typedef struct {
  const ES_T *w, *residual;
  const float *bias, *slope;
  const int32_t *offset, *start;
  ES_T *y;
  int64_t blocks, channels, y_plane, residual_plane, act;
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
#include "spmm_tile.h"
#if ES_VL > 8
#define ES_WIDTH 8
#define ES_MAX_N ES_MAX_SHORT
#include "spmm_tile.h"
#endif
#if ES_VL > 4
#define ES_WIDTH 4
#define ES_MAX_N ES_MAX_SHORT
#include "spmm_tile.h"
#endif
#if ES_VL > 1
#define ES_WIDTH 1
#define ES_MAX_N ES_MAX_SINGLE
#include "spmm_tile.h"
#endif

#if MR % 4 == 0 && defined(ES_FLOATS) && (defined(__aarch64__) || ES_VL == 16)
#define ES_PIXELS 1
#include "spmm_pixels_f32.h"
#else
#define ES_PIXELS 0
#endif

// One row of `columns` pixels: tiles of at most NV vectors, as even as possible; the last vector
// is moved left so that it ends with the row (it computes a few pixels twice, reads nothing beyond).
ES_INLINE void spmm_row(const es_spmm *s, const ES_T *x, int64_t y0, int64_t columns, int64_t pitch, int64_t valid) {
#if ES_PIXELS
  const int pixels = spmm_pixels(s, columns, pitch, valid);
  if (pixels) {
    spmm_row_pixels(s, pixels, x, y0, columns);
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

#include "spmm_images.h"
