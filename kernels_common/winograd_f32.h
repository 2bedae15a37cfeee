// Dense 3x3 convolutions of stride 1 with a fraction of the multiplications, after Lavin and Gray, "Fast Algorithms
// for Convolutional Neural Networks": M x M outputs from an N x N tile of the input, N = M + 2, in three steps.
//
//   U[i, j] = (B^T d B)[i, j]          tiles of all input channels: additions, and multiplications by constants
//   M[i, j] = W[i, j] * U[i, j]        a matrix product for each of the N x N positions; W = G g G^T is packed
//   y       = A^T M A                  the way back, then bias, residual and activation
//
// which multiplies N^2 / M^2 times where the convolution multiplies 9 times: 2.25 for M = 4, 4 for M = 2.
//
// A vector holds the same position of ES_VL tiles. Tiles are numbered along the rows of an image, image after image,
// and are worked on in chunks, so that U and M of a chunk stay in the cache; the weights are read once per chunk.
//
//   scratch  line [N][N][room]                tiles of one input channel
//            out  [M][M * lanes]              output rows of one channel
//            u    [N * N][in_channels][lanes] and ES_APART floats behind each position
//            m    [group][N * N][lanes]
//
// Included by kernels_*/winograd_f32__*.c, which say which MR x NV fit the registers of the ISA.
#include "es.h"
#include "activation_f32.h"
#include "winograd_tile_f32.h"

#define N (M + 2)
// One cache line: positions of u a power of two apart would all fall into the same few sets of the cache.
#define ES_APART 16

// Inlined into one function, the phases would take each other's registers.
#define ES_PHASE static __attribute__((noinline))

typedef struct {
  const float *x, *x_end, *w, *bias, *residual, *slope;
  float *y, *line, *out, *u, *m;
  int64_t in_channels, channels, x_plane, x_pitch, rows, columns, y_plane, residual_plane, act;
  int64_t down, across, lanes, room;  // tiles of an image; floats of a row of u and m; of line
  float lo, hi;
  int clamps;  // the activation is min(max(y, lo), hi)
} es_winograd;

// Tiles of a chunk that lie side by side: `count` from (row, column) of an image, the first is number `at` of its chunk.
typedef struct {
  int64_t image, row, column, count, at;
} es_run;

// The run that begins with tile number `tile`, if the chunk is [begin, end).
ES_INLINE es_run winograd_run(const es_winograd *s, int64_t tile, int64_t begin, int64_t end) {
  const int64_t row = tile / s->across, column = tile % s->across;
  const int64_t rest = s->across - column, left = end - tile;
  return (es_run){row / s->down, row % s->down, column, rest < left ? rest : left, tile - begin};
}

// Row `row` of the input of a run, by column of its tiles. What lies beyond the bordered plane is zero. Neighbouring
// tiles share two columns, so that the first two of every tile are written twice, as the last two of the one before it.
ES_INLINE void winograd_line(const es_winograd *s, const es_run *run, const float *plane, int64_t row, float *line) {
  const int64_t groups = run->count / 4 + 1;  // of four tiles: one tile more than the run has, for its last two columns
  const float *from = plane + row * s->x_pitch + run->column * M;
  int64_t left = row < s->rows + 2 ? s->columns + 2 - run->column * M : 0;
  float *first = line + run->at, *shared = line + M * s->room + run->at - 1;
  const float before = shared[0], beside = shared[s->room];  // the run before this one ends there
  for (int64_t g = 0; g < groups; g++, from += 4 * M, left -= 4 * M) {
    vf4 v[M] = {0};
    float rest[4 * M];
    const float *p = from;
    if (left > 0 && from + 4 * M > s->x_end) {
      for (int64_t i = 0; i < 4 * M; i++) rest[i] = i < left ? from[i] : 0;
      p = rest;
    }
    if (left > 0) {
#pragma unroll
      for (int k = 0; k < M; k++) v[k] = load4(p + 4 * k);
    }
    if (left < 4 * M) {
#pragma unroll
      for (int k = 0; k < M; k++) v[k] = winograd_keep(v[k], left - 4 * k);
    }
    winograd_split(v);
#pragma unroll
    for (int k = 0; k < M; k++) store4(first + k * s->room + 4 * g, v[k]);
    store4(shared + 4 * g, v[0]);
    store4(shared + s->room + 4 * g, v[1]);
  }
  shared[0] = before, shared[s->room] = beside;
}

// u of all input channels for the tiles begin..end-1.
ES_PHASE void winograd_in(const es_winograd *s, int64_t begin, int64_t end) {
  const int64_t position = s->in_channels * s->lanes + ES_APART;
  for (int64_t c = 0; c < s->in_channels; c++) {
    es_run run;
    for (int64_t tile = begin; tile < end; tile += run.count) {
      run = winograd_run(s, tile, begin, end);
      const float *plane = s->x + (run.image * s->in_channels + c) * s->x_plane;
      for (int64_t r = 0; r < N; r++) winograd_line(s, &run, plane, run.row * M + r, s->line + r * N * s->room);
    }
    float *u = s->u + c * s->lanes;
    for (int64_t t = 0; t < end - begin; t += ES_VL) {
      const float *line = s->line + t;
      vf half[N][N];
#pragma unroll
      for (int k = 0; k < N; k++) {
        vf d[N], e[N];
#pragma unroll
        for (int r = 0; r < N; r++) d[r] = load_vf(line + (r * N + k) * s->room);
        winograd_forth(d, e);
#pragma unroll
        for (int r = 0; r < N; r++) half[r][k] = e[r];
      }
#pragma unroll
      for (int r = 0; r < N; r++) {
        vf e[N];
        winograd_forth(half[r], e);
#pragma unroll
        for (int k = 0; k < N; k++) store_vf(u + (r * N + k) * position + t, e[k]);
      }
    }
  }
}

// m of a group of output channels: `w` are its weights, [N * N][blocks][in_channels][MR].
ES_PHASE void winograd_products(const es_winograd *s, const float *w, int64_t blocks, int64_t tiles) {
  const int64_t position = s->in_channels * s->lanes + ES_APART, vectors = (tiles + ES_VL - 1) / ES_VL;
  const int64_t wide = (vectors + NV - 1) / NV;  // register tiles, as even as possible
  for (int64_t p = 0; p < N * N; p++, w += blocks * s->in_channels * MR) {
    const float *u = s->u + p * position;
    float *m = s->m + p * s->lanes;
    for (int64_t t = 0; t < wide; t++) {
      const int64_t n = vectors / wide + (t < vectors % wide);
      winograd_tile(n, u, w, m, s->in_channels, blocks, s->lanes, N * N * s->lanes);
      u += n * ES_VL, m += n * ES_VL;
    }
  }
}

// y[0..count-1] = act(x + bias + residual)
ES_INLINE void winograd_row(const es_winograd *s, const float *x, float *y, const float *residual, int64_t count,
                            float bias, float slope) {
  const float lo = s->clamps ? s->lo : -__builtin_inff(), hi = s->clamps ? s->hi : __builtin_inff();
  int64_t i = 0;
  for (; i + ES_VL <= count; i += ES_VL) {
    const vf v = load_vf(x + i) + bias;
    store_vf(y + i, ES_CAT(es_clamp, ES_VL, )(residual ? v + load_vf(residual + i) : v, lo, hi));
  }
#if ES_VL > 4
  for (; i + 4 <= count; i += 4) {
    const vf4 v = load4(x + i) + bias;
    store4(y + i, es_clamp4(residual ? v + load4(residual + i) : v, lo, hi));
  }
#endif
  for (; i < count; i++) {
    const vf1 v = load1(x + i) + bias;
    store1(y + i, es_clamp1(residual ? v + load1(residual + i) : v, lo, hi));
  }
  if (!s->clamps) es_act_row(y, y, count, s->act, slope, s->hi);
}

// Tiles begin..end-1 of output channel `channel`, which is number `k` of its group.
ES_PHASE void winograd_out(const es_winograd *s, int64_t k, int64_t channel, int64_t begin, int64_t end) {
  for (int64_t t = 0; t < end - begin; t += ES_VL) {
    const float *m = s->m + k * N * N * s->lanes + t;
    vf half[M][N];
#pragma unroll
    for (int c = 0; c < N; c++) {
      vf d[N], e[M];
#pragma unroll
      for (int r = 0; r < N; r++) d[r] = load_vf(m + (r * N + c) * s->lanes);
      winograd_back(d, e);
#pragma unroll
      for (int r = 0; r < M; r++) half[r][c] = e[r];
    }
#pragma unroll
    for (int r = 0; r < M; r++) {
      vf e[M];
      winograd_back(half[r], e);
      winograd_join(e, s->out + (r * s->lanes + t) * M);
    }
  }
  es_run run;
  for (int64_t tile = begin; tile < end; tile += run.count) {
    run = winograd_run(s, tile, begin, end);
    const int64_t column = run.column * M, left = s->columns - column;
    const int64_t count = run.count * M < left ? run.count * M : left;
    const int64_t plane = run.image * s->channels + channel;
    const float slope = s->slope ? s->slope[channel] : s->lo;
    for (int64_t r = 0; r < M && run.row * M + r < s->rows; r++) {
      const int64_t at = (run.row * M + r) * s->columns + column;
      winograd_row(s, s->out + (r * s->lanes + run.at) * M, s->y + plane * s->y_plane + at,
                   s->residual ? s->residual + plane * s->residual_plane + at : 0, count, s->bias[channel], slope);
    }
    const int64_t written = s->rows * s->columns;
    if (run.row == s->down - 1 && run.column + run.count == s->across)
      es_zero(s->y + plane * s->y_plane + written, s->y_plane - written);
  }
}

// y[n, r, q] = act(bias[n] + sum_{c, i, j} g[n, c, i, j] x[c, r + i, q + j] (+ residual[n, r, q])), r < rows, q < columns.
// x: (images, in_channels), planes x_plane apart of at least (rows + 2) rows, x_pitch apart, of at least columns + 2
// floats; residual (may be null) and y: (images, channels, rows, columns), planes residual_plane and y_plane apart. The
// padding of y is set to zero. w: for each group of `group` output channels (a multiple of MR; the last one has what is
// left) [N * N][blocks][in_channels][MR]; bias and slope (may be null): (channels,).
// Part k of begin..end-1 is chunk k / groups of `chunks` and group k % groups. y must not overlap x or residual.
void ES_KERNEL(winograd_f32)(const float *x, const float *w, const float *bias, const float *residual, const float *slope,
                             float *y, float *scratch, int64_t begin, int64_t end, int64_t images, int64_t in_channels,
                             int64_t channels, int64_t rows, int64_t columns, int64_t x_plane, int64_t x_pitch,
                             int64_t y_plane, int64_t residual_plane, int64_t chunks, int64_t group, int64_t act, float lo,
                             float hi) {
  es_winograd s = {x, x + images * in_channels * x_plane, w, bias, residual, slope, y, 0, 0, 0, 0, in_channels, channels, x_plane, x_pitch, rows, columns,
                   y_plane, residual_plane, act, (rows + M - 1) / M, (columns + M - 1) / M, 0, 0, lo, hi, 0};
  const int64_t tiles = images * s.down * s.across, vectors = (tiles + ES_VL - 1) / ES_VL;
  const int64_t groups = (channels + group - 1) / group, of_group = N * N * in_channels * group;
  s.clamps = es_act_bounds(act, &s.lo, &s.hi);
  s.lanes = (vectors + chunks - 1) / chunks * ES_VL;
  s.room = s.lanes + 8;  // what is before and behind the tiles of a chunk is written, too
  s.line = scratch;
  s.out = s.line + N * N * s.room;
  s.u = s.out + M * M * s.lanes;
  s.m = s.u + N * N * (in_channels * s.lanes + ES_APART);
  int64_t there = -1;  // the chunk whose u is there
  for (int64_t part = begin; part < end; part++) {
    const int64_t chunk = part / groups, g = part % groups;
    // whole vectors, as evenly as possible
    const int64_t least = vectors / chunks, more = vectors % chunks;
    const int64_t from = (chunk * least + (chunk < more ? chunk : more)) * ES_VL;
    const int64_t after = from + (least + (chunk < more)) * ES_VL, to = after < tiles ? after : tiles;
    const int64_t first = g * group, count = channels - first < group ? channels - first : group;
    if (from >= to) continue;  // fewer vectors than chunks
    if (there != chunk) winograd_in(&s, from, to);
    there = chunk;
    winograd_products(&s, w + g * of_group, (count + MR - 1) / MR, to - from);
    for (int64_t k = 0; k < count; k++) winograd_out(&s, k, first + k, from, to);
  }
}
