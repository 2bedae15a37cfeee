// Sparse (and dense) weights times planes of activations, for WebAssembly. What it computes, the packing and the
// arguments are those of kernels_common/spmm.h; how it is cut into functions is not:
//
//   spmm_blocks_N   a tile of N vectors over a range of blocks: the loop all the time is spent in, and nothing else.
//                   The engine allocates registers for a whole function at once: with the rest inlined around it, it
//                   keeps accumulators in memory. Small functions also make the module small.
//   spmm_rest       what few layers need (residuals, other activations, rows with gaps), behind a tile of results.
#include "element_f32.h"
#include "mean_f32.h"

#define ES_MEAN es_mean
#define ES_TILE_FLOATS (4 * NV)

// Nothing is computed or read across: without it the compiler loads all weights of an entry first, and V8 runs out of
// registers (it has 15) or keeps accumulators in memory, which makes an entry three times as slow.
#define ES_STAY(a) __asm__ volatile("" : "+r"(a))
#define ES_IN_ORDER() __asm__ volatile("" ::: "memory")

// What does not change while tiles are computed, of blocks 0..blocks-1: all pointers begin with the first of them.
typedef struct {
  const float *w, *bias, *residual, *slope;
  const int32_t *offset, *start;
  float *y;
  int32_t blocks, channels, y_plane, residual_plane, act;
  float lo, hi;
  int clamped, clamps;  // the activation is min(max(y, lo), hi); and there is no residual before it
} es_spmm;

// One kept entry: MR weights times n vectors at p. With two rows the weights stay in registers and vectors are loaded
// one by one; with four it is the other way round. Weights are broadcast from memory: a lane of a vector of weights
// would need a shuffle, which the units of the multiply-adds do on many CPUs.
ES_INLINE void spmm_entry(vf4 acc[MR][NV], const int n, const float *p, const float *w) {
#if MR <= 2
  vf4 weight[MR];
#pragma unroll
  for (int i = 0; i < MR; i++) weight[i] = splat4(w[i]);
#pragma unroll
  for (int v = 0; v < n; v++) {
    ES_IN_ORDER();
    vf4 in = load4(p + 4 * v);
#pragma unroll
    for (int i = 0; i < MR; i++) {
      acc[i][v] += weight[i] * in;
      ES_STAY(acc[i][v]);
    }
  }
#else
  vf4 in[NV];
#pragma unroll
  for (int v = 0; v < n; v++) in[v] = load4(p + 4 * v);
#pragma unroll
  for (int i = 0; i < MR; i++) {
    ES_IN_ORDER();
    vf4 weight = splat4(w[i]);
#pragma unroll
    for (int v = 0; v < n; v++) {
      acc[i][v] += weight * in[v];
      ES_STAY(acc[i][v]);
    }
  }
#endif
}

// Blocks one after the other, min and max at the end of each. 32-bit counters: those of 64 bits cost registers.
ES_INLINE void spmm_blocks(const int n, const char *x, const float *w, const int32_t *offset, const int32_t *start,
                           const float *bias, float *y, int32_t blocks, int32_t y_plane, float lo, float hi) {
  for (; blocks != 0; blocks--, bias += MR, start++) {
    vf4 acc[MR][NV];
#pragma unroll
    for (int i = 0; i < MR; i++)
#pragma unroll
      for (int v = 0; v < n; v++) acc[i][v] = splat4(bias[i]);
    const int32_t kept = start[1] - start[0];
// One entry a round: V8 unrolls the loop by itself, and spills when it gets it unrolled.
#pragma unroll 1
    for (const float *stop = w + kept * MR; w != stop; w += MR, offset++)
      spmm_entry(acc, n, (const float *)(x + *offset), w);
#pragma unroll
    for (int i = 0; i < MR; i++, y += y_plane)
#pragma unroll
      for (int v = 0; v < n; v++) store4(y + 4 * v, es_clamp4(acc[i][v], lo, hi));
  }
}

#define ES_BLOCKS(n)                                                                                                  \
  __attribute__((noinline)) static void spmm_blocks_##n(const char *x, const float *w, const int32_t *offset,         \
                                                        const int32_t *start, const float *bias, float *y,            \
                                                        int32_t blocks, int32_t y_plane, float lo, float hi) {        \
    spmm_blocks(n, x, w, offset, start, bias, y, blocks, y_plane, lo, hi);                                            \
  }
ES_BLOCKS(1)
#if NV >= 2
ES_BLOCKS(2)
#endif
#if NV >= 3
ES_BLOCKS(3)
#endif
#if NV >= 4
ES_BLOCKS(4)
#endif

// `blocks` blocks from block b on into y; a tile of n vectors, or with n = 0 of one pixel.
static void spmm_some(const es_spmm *s, int32_t n, const float *x, int32_t b, int32_t blocks, float *y,
                      int32_t y_plane, float lo, float hi) {
  const int32_t first = s->start[b], *offset = s->offset + first, *start = s->start + b;
  const float *w = s->w + first * MR, *bias = s->bias + b * MR;
  const char *at = (const char *)x;
  switch (n) {
    case 0:
      for (; blocks != 0; blocks--, start++, bias += MR) {
        for (int i = 0; i < MR; i++, y += y_plane) {
          float sum = bias[i];
          for (int32_t j = 0; j < start[1] - start[0]; j++) sum += w[j * MR + i] * *(const float *)(at + offset[j]);
          y[0] = sum < lo ? lo : sum > hi ? hi : sum;
        }
        w += (start[1] - start[0]) * MR, offset += start[1] - start[0];
      }
      break;
    case 1: spmm_blocks_1(at, w, offset, start, bias, y, blocks, y_plane, lo, hi); break;
#if NV >= 2
    case 2: spmm_blocks_2(at, w, offset, start, bias, y, blocks, y_plane, lo, hi); break;
#endif
#if NV >= 3
    case 3: spmm_blocks_3(at, w, offset, start, bias, y, blocks, y_plane, lo, hi); break;
#endif
#if NV >= 4
    case 4: spmm_blocks_4(at, w, offset, start, bias, y, blocks, y_plane, lo, hi); break;
#endif
  }
}

// y[0..length-1] = act(from + residual)
static void spmm_finish(const es_spmm *s, const float *from, int32_t channel, int32_t to, int32_t length) {
  float *y = s->y + channel * s->y_plane + to;
  const float *residual = s->residual ? s->residual + channel * s->residual_plane + to : 0;
  int32_t e = 0;
  for (; e + 4 <= length; e += 4) store4(y + e, residual ? load4(from + e) + load4(residual + e) : load4(from + e));
  for (; e < length; e++) y[e] = residual ? from[e] + residual[e] : from[e];
  if (s->act && !s->clamps) es_act_row(y, y, length, s->act, s->slope ? s->slope[channel] : s->lo, s->hi);
}

// One block at a time into a tile in memory, and from there to where it belongs: rows of x are `pitch` floats wide, of
// which the first `valid` are a row of y.
__attribute__((noinline)) static void spmm_rest(const es_spmm *s, int32_t n, const float *x, int32_t row0, int32_t p,
                                                int32_t begin, int32_t pitch, int32_t valid) {
  const float inf = __builtin_inff(), lo = s->clamps ? s->lo : -inf, hi = s->clamps ? s->hi : inf;
  const int32_t width = n ? 4 * n : 1;
  float room[MR * ES_TILE_FLOATS];
  for (int32_t b = begin; b < s->blocks; b++) {
    spmm_some(s, n, x, b, 1, room, ES_TILE_FLOATS, lo, hi);
    for (int32_t i = 0; i < MR && b * MR + i < s->channels; i++) {
      const float *from = room + i * ES_TILE_FLOATS;
      if (pitch <= valid) {
        spmm_finish(s, from, b * MR + i, row0 + p, width);
        continue;
      }
      for (int32_t at = p, row = p / pitch, column = p % pitch; at < p + width; row++, column = 0) {
        int32_t rest = p + width - at, length = valid - column < rest ? valid - column : rest;
        if (length > 0) spmm_finish(s, from + at - p, b * MR + i, row0 + row * valid + column, length);
        at += pitch - column;
      }
    }
  }
}

// A tile at pixel p of a row that begins at row0 of y.
static void spmm_tile(const es_spmm *s, int32_t n, const float *x, int32_t row0, int32_t p, int32_t pitch,
                      int32_t valid) {
  int32_t done = 0;
  if (s->clamps && pitch <= valid) {
    const int32_t whole = s->channels / MR;
    done = s->blocks < whole ? s->blocks : whole;
    if (done > 0) spmm_some(s, n, x + p, 0, done, s->y + row0 + p, s->y_plane, s->lo, s->hi);
  }
  if (done < s->blocks) spmm_rest(s, n, x + p, row0, p, done, pitch, valid);
}

// One row of `columns` pixels: tiles of at most NV vectors, as even as possible. What is left is one vector that
// overlaps the one before it: it computes a few pixels twice, and reads nothing beyond the row.
static void spmm_row(const es_spmm *s, const float *x, int32_t row0, int32_t columns, int32_t pitch, int32_t valid) {
  const int32_t vectors = columns / 4, tiles = (vectors + NV - 1) / NV;
  int32_t p = 0;
  for (int32_t t = 0; t < tiles; t++) {
    const int32_t n = vectors / tiles + (t < vectors % tiles);
    spmm_tile(s, n, x, row0, p, pitch, valid);
    p += 4 * n;
  }
  if (p == columns) return;
  if (columns >= 4) {
    spmm_tile(s, 1, x, row0, columns - 4, pitch, valid);
    return;
  }
  for (; p < columns; p++) spmm_tile(s, 0, x, row0, p, pitch, valid);
}

#include "spmm_images.h"

void ES_KERNEL(spmm_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y, float *scratch,
                         int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image,
                         int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                         int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo,
                         float hi) {
  const es_spmm s = {
      .w = w, .bias = bias, .residual = residual, .slope = slope, .offset = offset, .start = start, .y = y,
      .channels = (int32_t)channels, .y_plane = (int32_t)y_plane, .residual_plane = (int32_t)residual_plane,
      .act = (int32_t)act, .lo = lo, .hi = hi,
  };
  spmm_images(&s, x, scratch, begin, end, images, x_image, rows, columns, x_row, pitch, valid, plane, spare);
}
