// Matrix times vector with the weights by input, the body of columns_f32.c and columns_f16.c, which define T, a weight,
// and LOAD(p), ES_VL of them as floats.
//
// Tiles of outputs are computed one after the other: of a tile, the weights of one input are neighbours, and inputs
// that are not in the list are not read. A tile's sums stay in registers where it is one chunk wide, else they change
// between registers and the first cache every BLOCK entries. What the next BLOCK entries need is asked for meanwhile.
#ifndef ES_COLUMNS_H
#define ES_COLUMNS_H
#include "es.h"

enum { MOST = 512 };  // the widest tile
enum { LINE = 64 / sizeof(T), PIECE = 16 };

// sum[0..nv * ES_VL - 1] += the entries' weights from `at` on, times their values.
ES_INLINE void chunk(float *sum, const T *const *row, const T *const *next, const float *value, int64_t entries,
                     int64_t at, const int nv) {
  vf s[32];
  sum += at;
#pragma unroll
  for (int i = 0; i < nv; i++) s[i] = load_vf(sum + i * ES_VL);
  for (int64_t e = 0; e < entries; e++) {
    const T *w = row[e] + at, *ahead = next[e] + at;
    const vf v = splat_vf(value[e]);
#pragma unroll
    for (int i = 0; i < nv; i++) {
      if (i * ES_VL % LINE == 0) es_ask(ahead + i * ES_VL);
      s[i] += LOAD(w + i * ES_VL) * v;
    }
  }
#pragma unroll
  for (int i = 0; i < nv; i++) store_vf(sum + i * ES_VL, s[i]);
}

// The weights of entries first..first+BLOCK-1; those of the last one where there are no more, only to be asked for.
ES_INLINE void find_rows(const T **row, const T *w, const int32_t *index, int64_t first, int64_t count, int64_t width) {
  for (int64_t e = 0; e < BLOCK; e++) {
    const int64_t j = first + e < count ? first + e : count - 1;
    row[e] = w + (index ? index[j] : j) * width;
  }
}

ES_INLINE void columns_tile(const T *w, const int32_t *index, const float *value, float *sum, int64_t count,
                            int64_t width) {
  const T *row[2][BLOCK];
  if (count > 0) find_rows(row[0], w, index, 0, count, width);
  for (int64_t first = 0, b = 0; first < count; first += BLOCK, b ^= 1) {
    const int64_t entries = count - first < BLOCK ? count - first : BLOCK;
    find_rows(row[b ^ 1], w, index, first + BLOCK, count, width);
    int64_t at = 0;
    for (; at + CHUNK <= width; at += CHUNK) chunk(sum, row[b], row[b ^ 1], value + first, entries, at, CHUNK / ES_VL);
    for (; at < width; at += PIECE) chunk(sum, row[b], row[b ^ 1], value + first, entries, at, PIECE / ES_VL);
  }
}

ES_INLINE void columns(const T *w, const float *bias, const int32_t *index, const float *value, float *y, int64_t count,
                       int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) {
    const int64_t from = t * tile, own = outputs - from < tile ? outputs - from : tile;
    const int64_t width = (own + PIECE - 1) / PIECE * PIECE;
    float sum[MOST];
    for (int64_t o = 0; o < own; o++) sum[o] = bias ? bias[from + o] : 0;
    for (int64_t o = own; o < width; o++) sum[o] = 0;
    columns_tile(w + from * inputs, index, value, sum, count, width);
    for (int64_t o = 0; o < own; o++) y[from + o] = sum[o];
  }
}
#endif
