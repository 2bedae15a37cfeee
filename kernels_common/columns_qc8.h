// The body of columns_qc8, for every instruction set. What includes it has included the dot_qc8.h of its folder:
//
// V, I, F: a vector of BYTES weights, and of the int32 and floats of the same size; load_v, load_piece (16 bytes);
// prepare(q, sum) -> group; four(sum, a, b, c, d, group, k): the products of 4 inputs with entries 4k..4k+3 of a group.
// sum[i] holds outputs 4i..4i+3 of every 16. WIDE vectors lie in a line of the cache, or as many as there are registers
// for.
//
// 32 entries, which share a scale, are added up as whole numbers before they become floats. Those of a tile lie in the
// first cache. The weights of the next 32 entries are asked for meanwhile, in the order in which they will be read:
// the last line of every row, then the line before it. On a Zen 4 that read 18 GB/s, row after row 12; and from the
// first line to the last it took 10% longer where rows were skipped, as what lies behind a row was fetched, too.
#ifndef ES_COLUMNS_QC8_H
#define ES_COLUMNS_QC8_H

enum { MOST = 512, ENTRIES = 32, PIECE = 16, LANES = BYTES / 4, CHUNK = WIDE * BYTES };

// Where the sum of output o of a tile lies.
ES_INLINE int64_t place(int64_t o, int64_t width) {
  if (o >= width / BYTES * BYTES) return o;
  return o / BYTES * BYTES + o % 16 / 4 * LANES + o % BYTES / 16 * 4 + o % 4;
}

// Four of the lines of the next rows, as line `at` of these is at entries 4k..4k+3. Of the widest tiles, 16 rows at a
// time: 8% faster where rows are skipped, but slower for narrower ones.
ES_INLINE void ask(const uint8_t *const *next, int64_t at, int64_t width, int k) {
  if (width == MOST) {
    const int64_t step = (MOST - 64 - at) / 8 + k;
    next += step / 32 * 16 + step % 4 * 4;
    at = MOST - 64 - step % 32 / 4 * 64;
  } else {
    next += 4 * k;
  }
#pragma unroll
  for (int e = 0; e < 4; e++) es_ask(next[e] + at);
}

ES_INLINE void wide(float *sum, const uint8_t *const *row, const uint8_t *const *next, const group *g, float scale,
                    int64_t at, int64_t width, const int count) {
  I s[4 * 4];
#pragma unroll
  for (int i = 0; i < 4 * count; i++) s[i] = (I){} + g->start;
#pragma clang loop unroll(disable)
  for (int k = 0; k < ENTRIES / 4; k++) {
    const uint8_t *const *r = row + 4 * k;
    if (at % 64 == 0) ask(next, at, width, k);
#pragma unroll
    for (int i = 0; i < count; i++) {
      const int64_t here = at + i * BYTES;
      four(s + 4 * i, load_v(r[0] + here), load_v(r[1] + here), load_v(r[2] + here), load_v(r[3] + here), g, k);
    }
  }
#pragma unroll
  for (int i = 0; i < 4 * count; i++)
    STORE_F(sum + at + i * LANES, LOAD_F(sum + at + i * LANES) + __builtin_convertvector(s[i], F) * scale);
}

// 16 outputs, in their own order.
ES_INLINE void piece(float *sum, const uint8_t *const *row, const uint8_t *const *next, const group *g, float scale,
                     int64_t at) {
  I s[4];
#pragma unroll
  for (int i = 0; i < 4; i++) s[i] = (I){} + g->start;
  for (int k = 0; k < ENTRIES / 4; k++) {
    const uint8_t *const *r = row + 4 * k;
    if (at % 64 == 0)
      for (int e = 0; e < 4; e++) es_ask(next[4 * k + e] + at);
    four(s, load_piece(r[0] + at), load_piece(r[1] + at), load_piece(r[2] + at), load_piece(r[3] + at), g, k);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const F f = __builtin_convertvector(s[i], F);
    float *to = sum + at + 4 * i;
    store4(to, load4(to) + __builtin_shufflevector(f, f, 0, 1, 2, 3) * scale);
  }
}

// The weights of 32 entries; those of the last one where there are no more: they are multiplied by 0.
ES_INLINE void find_rows(const uint8_t **row, const uint8_t *w, const int32_t *index, int64_t first, int64_t count,
                         int64_t width) {
  for (int64_t e = 0; e < ENTRIES; e++) {
    const int64_t j = first + e < count ? first + e : count - 1;
    row[e] = w + (index ? index[j] : j) * width;
  }
}

ES_INLINE void columns_tile(float *total, const uint8_t *w, const int32_t *index, const int8_t *q, const float *scale,
                            const int32_t *sum, int64_t count, int64_t width) {
  const uint8_t *row[2][ENTRIES];
  if (count > 0) find_rows(row[0], w, index, 0, count, width);
  for (int64_t first = 0, b = 0; first < count; first += ENTRIES, b ^= 1) {
    find_rows(row[b ^ 1], w, index, first + ENTRIES, count, width);
    const group g = prepare(q + first, sum[first / ENTRIES]);
    const float by = scale[first / ENTRIES];
    int64_t at = width;
    for (; at % BYTES; at -= PIECE) piece(total, row[b], row[b ^ 1], &g, by, at - PIECE);
    for (; at % CHUNK; at -= BYTES) wide(total, row[b], row[b ^ 1], &g, by, at - BYTES, width, 1);
    for (; at > 0; at -= CHUNK) wide(total, row[b], row[b ^ 1], &g, by, at - CHUNK, width, WIDE);
  }
}

// y[o] = bias[o] + wscale[o] sum_g scale[g] sum_j w[o, index[j]] q[j] over the entries j of group g, 32 each, `count`
// in all; without index, entry j is input j. w: tiles of `tile` outputs (a multiple of 16, at most 512), each (inputs,
// width), the last as wide as what is left, rounded up to 16: bytes -127..127, on x86 with 128 added. q: (count rounded
// up to 32), zeros at its end; scale, sum: as quantise_f32 gives them; wscale, bias (may be null), y: (outputs,).
// Tiles begin..end-1 are computed, ceil(outputs / tile) in all.
void ES_KERNEL(columns_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                            const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t count,
                            int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) {
    const int64_t from = t * tile, own = outputs - from < tile ? outputs - from : tile;
    const int64_t width = (own + PIECE - 1) / PIECE * PIECE;
    float total[MOST];
    for (int64_t o = 0; o < width; o++) total[o] = 0;
    columns_tile(total, w + from * inputs, index, q, scale, sum, count, width);
    for (int64_t o = 0; o < own; o++)
      y[from + o] = total[place(o, width)] * wscale[from + o] + (bias ? bias[from + o] : 0);
  }
}
#endif
