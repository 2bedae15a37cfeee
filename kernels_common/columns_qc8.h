// The body of columns_qc8, for every instruction set. What includes it has included the dot_qc8.h of its folder:
//
// V, I, F: a vector of BYTES weights, and of the int32 and floats of the same size; load_v, load_piece (16 bytes);
// prepare(q, sum) -> group; four(sum, a, b, c, d, group, k): the products of 4 inputs with entries 4k..4k+3 of a group.
// sum[i] holds outputs 4i..4i+3 of every 16. WIDE vectors lie in a line of the cache, or as many as there are registers
// for.
//
// ENTRIES rows are read side by side, from the first output to the last. What comes AHEAD_BYTES later is asked for, in
// the same rows and at their ends in the next ones; on x86 that is asked into the second cache, and NEAR_BYTES before
// it is needed into the first. A load of what is not there yet holds up all that comes after it. On a Zen 4 with large
// pages, rows of 2048 bytes, half of them skipped, are read at 22 GB/s and such of 11264 at 27, where a loop that only
// loads gets 24 and 30; without NEAR_BYTES 4 and 9% less, with loads in the place of that 20% less. 8 rows or 32 side by
// side, several lines of a row in turn, or every second row from its end: 5 to 20% less.
// Between two visits sums lie in the cache, in the order in which lanes hold them.
#ifndef ES_COLUMNS_QC8_H
#define ES_COLUMNS_QC8_H
#include "columns_place_qc8.h"

enum { GROUP = 32, ENTRIES = 16, LANES = BYTES / 4, CHUNK = WIDE * BYTES };
#if defined(__x86_64__)
enum { AHEAD_BYTES = 768, NEAR_BYTES = 192 };
#elif defined(__wasm__)
enum { AHEAD_BYTES = 0, NEAR_BYTES = 0 };  // nobody to ask
#else
enum { AHEAD_BYTES = 384, NEAR_BYTES = 0 };
#endif
// Outputs whose sums lie in the cache at a time, 98 kB: 22016 at once and not in two turns are 5% faster.
enum { MOST = 24576 };

// What is asked for while outputs from `at` on are computed is `at + by` bytes into these rows.
typedef struct { const uint8_t *const *row; int64_t by; } asked;

ES_INLINE void wide(float *sum, const uint8_t *const *row, asked far, asked near, const group *g, float scale, int64_t at,
                    const int count) {
  I s[4 * 4];
#pragma unroll
  for (int i = 0; i < 4 * count; i++) s[i] = (I){} + g->start;
#pragma unroll
  for (int k = 0; k < ENTRIES / 4; k++) {
    const uint8_t *const *r = row + 4 * k;
    if (near.row && at % 64 == 0)
#pragma unroll
      for (int e = 4 * k; e < 4 * k + 4; e++) __builtin_prefetch(near.row[e] + at + near.by);
#pragma unroll
    for (int i = 0; i < count; i++) {
      const int64_t here = at + i * BYTES;
      four(s + 4 * i, load_v(r[0] + here), load_v(r[1] + here), load_v(r[2] + here), load_v(r[3] + here), g, k);
    }
    if (at % 64 == 0)
#pragma unroll
      for (int e = 4 * k; e < 4 * k + 4; e++) es_ask(far.row[e] + at + far.by);
  }
#pragma unroll
  for (int i = 0; i < 4 * count; i++)
    STORE_F(sum + at + i * LANES, LOAD_F(sum + at + i * LANES) + __builtin_convertvector(s[i], F) * scale);
}

// Outputs at..end-1.
ES_INLINE void strip(float *sum, const uint8_t *const *row, asked far, asked near, const group *g, float scale, int64_t at,
                     int64_t end) {
  for (; at + CHUNK <= end; at += CHUNK) wide(sum, row, far, near, g, scale, at, WIDE);
  for (; at < end; at += BYTES) wide(sum, row, far, near, g, scale, at, 1);
}

// From which output on the next rows are asked for.
ES_INLINE int64_t turn(int64_t whole, int64_t bytes) {
  return bytes == 0 ? whole : whole > bytes ? (whole - bytes) / 64 * 64 : 0;
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
    float *to = sum + 4 * i;
    store4(to, load4(to) + __builtin_shufflevector(f, f, 0, 1, 2, 3) * scale);
  }
}

// The weights of ENTRIES entries; those of the last one where there are no more: they are multiplied by 0. Whole lists
// are looked up as vectors: between two groups of rows, nothing else is asked of the memory.
ES_INLINE void find_rows(const uint8_t **row, const uint8_t *w, const int32_t *index, int64_t first, int64_t count,
                         int64_t pitch) {
  if (index && first + ENTRIES <= count) {
    for (int64_t e = 0; e < ENTRIES; e++) row[e] = w + index[first + e] * pitch;
    return;
  }
  for (int64_t e = 0; e < ENTRIES; e++) {
    const int64_t j = first + e < count ? first + e : count - 1;
    row[e] = w + (index ? index[j] : j) * pitch;
  }
}

// Half of the entries that share a scale, with zeros behind them in `some`.
ES_INLINE group half(const int8_t *q, int8_t *some) {
  int32_t sum = 0;
  for (int e = 0; e < ENTRIES; e++) some[e] = q[e], sum += q[e];
  return prepare(some, sum);
}

// Up to MOST outputs. y may be the bias.
ES_INLINE void columns_span(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                            const int8_t *q, const float *scale, float *y, int64_t count, int64_t own, int64_t pitch) {
  const int64_t whole = own / BYTES * BYTES, far = turn(whole, AHEAD_BYTES), near = turn(whole, NEAR_BYTES);
  const uint8_t *row[2][ENTRIES];
  float sum[MOST], last[BYTES];
  int8_t some[GROUP] = {0};
  for (int64_t o = 0; o < whole; o++) sum[o] = 0;
  for (int64_t o = 0; o < BYTES; o++) last[o] = 0;
  if (count > 0) find_rows(row[0], w, index, 0, count, pitch);
  for (int64_t first = 0, b = 0; first < count; first += ENTRIES, b ^= 1) {
    const uint8_t *const *these = row[b], *const *next = row[b ^ 1];
    find_rows(row[b ^ 1], w, index, first + ENTRIES, count, pitch);
    const group g = half(q + first, some);
    const float by = scale[first / GROUP];
    const asked later = {these, AHEAD_BYTES}, soon = {NEAR_BYTES ? these : 0, NEAR_BYTES}, next_later = {next, -far};
    strip(sum, these, later, soon, &g, by, 0, far);
    strip(sum, these, next_later, soon, &g, by, far, near);
    strip(sum, these, next_later, (asked){NEAR_BYTES ? next : 0, -near}, &g, by, near, whole);
    for (int64_t at = whole; at < own; at += PIECE) piece(last + at - whole, these, next, &g, by, at);
  }
  for (int64_t o = 0; o < whole; o += BYTES) finish(y + o, sum + o, wscale + o, bias ? bias + o : 0);
  for (int64_t o = whole; o < own; o++) y[o] = last[o - whole] * wscale[o] + (bias ? bias[o] : 0);
}

#include "columns_call_qc8.h"
#endif
