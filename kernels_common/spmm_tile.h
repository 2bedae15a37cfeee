// One pixel tile of spmm for vectors of ES_WIDTH numbers, at most ES_MAX_N of them. Included by
// spmm.h once per width; no include guard on purpose.
#define V ES_CAT(ES_V, ES_WIDTH, )
#define LOAD ES_CAT(ES_LOAD, ES_WIDTH, )
#define STORE ES_CAT(ES_STORE, ES_WIDTH, )
#define SPLAT ES_CAT(ES_SPLAT, ES_WIDTH, )
#define LANE ES_CAT(ES_LANE, ES_WIDTH, )
#define CLAMP ES_CAT(ES_CLAMP, ES_WIDTH, )
#define LOAD4 ES_CAT(ES_LOAD, 4, )
#define STORE4 ES_CAT(ES_STORE, 4, )
#define NAME(f) ES_CAT(f, ES_WIDTH, )

// Weight `lane` of those in q, which is weight i of the entry, times the vectors in `in`.
#define ES_TIMES(i, lane)                                                            \
  {                                                                                  \
    const V weight = LANE(q, lane);                                                  \
    _Pragma("unroll") for (int v = 0; v < n; v++) acc[i][v] += weight * in[v];       \
  }

// One kept entry: MR weights times n vectors at p, the last of them at p + last.
ES_INLINE void NAME(spmm_entry)(V acc[MR][ES_MAX_N], const int n, const ES_T *p, const ES_T *w, int64_t last) {
#if MR <= 2 && defined(__x86_64__)
  // Few weights: they stay in registers, and each vector of x is used up before the next one is loaded.
  V weight[MR];
#pragma unroll
  for (int i = 0; i < MR; i++) weight[i] = SPLAT(w[i]);
#pragma unroll
  for (int v = 0; v < n; v++) {
    ES_IN_ORDER();
    V in = LOAD(p + (v == n - 1 ? last : v * ES_WIDTH));
#pragma unroll
    for (int i = 0; i < MR; i++) acc[i][v] += weight[i] * in;
  }
#else
  V in[ES_MAX_N];
#pragma unroll
  for (int v = 0; v < n; v++) in[v] = LOAD(p + (v == n - 1 ? last : v * ES_WIDTH));
#if MR % 4 == 0 && !defined(__x86_64__)
#pragma unroll
  for (int i = 0; i < MR; i += ES_AT_ONCE) {
    const ES_CAT(ES_V, ES_AT_ONCE, ) q = ES_CAT(ES_LOAD, ES_AT_ONCE, )(w + i);
    ES_TIMES(i, 0) ES_TIMES(i + 1, 1) ES_TIMES(i + 2, 2) ES_TIMES(i + 3, 3)
#if ES_AT_ONCE == 8
    ES_TIMES(i + 4, 4) ES_TIMES(i + 5, 5) ES_TIMES(i + 6, 6) ES_TIMES(i + 7, 7)
#endif
  }
#else
#pragma unroll
  for (int i = 0; i < MR; i++) {
    ES_IN_ORDER();
    V weight = SPLAT(w[i]);
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] += weight * in[v];
  }
#endif
#endif
}

// `count` kept entries: the loop all the time is spent in. Moves *weights and *offsets behind what it has read.
ES_INLINE void NAME(spmm_entries)(V acc[MR][ES_MAX_N], const int n, const ES_T *x, const ES_T **weights,
                                  const int32_t **offsets, int64_t count, int64_t last) {
  const ES_T *w = *weights;
  const int32_t *offset = *offsets;
#if defined(__aarch64__)
  // Two entries a round: small cores issue in order, and the loop itself is 4 of 32 instructions.
#pragma unroll 1
  for (int64_t pairs = count >> 1; pairs != 0; pairs--, w += 2 * MR, offset += 2) {
    const ES_T *p0 = (const ES_T *)((const char *)x + offset[0]), *p1 = (const ES_T *)((const char *)x + offset[1]);
    NAME(spmm_entry)(acc, n, p0, w, last);
    NAME(spmm_entry)(acc, n, p1, w + MR, last);
  }
  if (count & 1) {
    NAME(spmm_entry)(acc, n, (const ES_T *)((const char *)x + offset[0]), w, last);
    w += MR, offset++;
  }
#else
#pragma unroll 1
  for (int64_t j = 0; j < count; j++, w += MR) {
    ES_PREFETCH(x, offset + j, n * ES_WIDTH);
    NAME(spmm_entry)(acc, n, (const ES_T *)((const char *)x + offset[j]), w, last);
  }
  offset += count;
#endif
  *weights = w, *offsets = offset;
}

// MR x n sums over the kept entries of one block, with the bias.
ES_INLINE void NAME(spmm_block)(V acc[MR][ES_MAX_N], const int n, const ES_T *x, const ES_T **weights,
                                const int32_t **offsets, int64_t kept, const float *bias, int64_t last) {
#pragma unroll
  for (int i = 0; i < MR; i++)
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] = ES_FOLD ? (V){} : SPLAT(bias[i]);
#if ES_FOLD
  // The bias comes last: errors are those of the size that sums have on the way.
  typedef ES_CAT(vf, ES_WIDTH, ) floats;
  floats sums[MR][ES_MAX_N];
  for (int folded = 0;; folded = 1) {
    const int64_t count = kept < ES_FOLD ? kept : ES_FOLD;
    NAME(spmm_entries)(acc, n, x, weights, offsets, count, last);
    kept -= count;
    if (kept == 0 && !folded) break;
#pragma unroll
    for (int i = 0; i < MR; i++)
#pragma unroll
      for (int v = 0; v < n; v++) {
        floats sum = ES_CAT(widen, ES_WIDTH, )(acc[i][v]);
        if (folded) sum += sums[i][v];
        sums[i][v] = sum;
        acc[i][v] = kept ? (V){} : ES_CAT(narrow, ES_WIDTH, )(sum);
      }
    if (kept == 0) break;
  }
#pragma unroll
  for (int i = 0; i < MR; i++)
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] += SPLAT(bias[i]);
#else
  NAME(spmm_entries)(acc, n, x, weights, offsets, kept, last);
#endif
}

// The first `blocks`, all whole, with nothing but residual, min, max and store to do, which is nearly always. What is
// in s is read once: the compiler must take a store of a vector for one into s.
ES_INLINE void NAME(spmm_tile_whole)(const es_spmm *s, const int n, const ES_T *x, int64_t y0, int64_t last,
                                     int64_t blocks) {
  const float lo = s->lo, hi = s->hi, *bias = s->bias;
  const int far = s->far;
  const int64_t y_plane = s->y_plane;
  const int32_t *start = s->start;
  int32_t first = *start++;
  const int32_t *offset = s->offset + first;
  const ES_T *w = s->w + (int64_t)first * MR;
  ES_T *block = s->y + y0;
  const int64_t residual_plane = s->residual_plane;
  const ES_T *residual = s->residual ? s->residual + y0 : 0;
  for (; blocks > 0; blocks--, bias += MR, block += MR * y_plane) {
    V acc[MR][ES_MAX_N];
    const int32_t next = *start++;
    const int64_t kept = next - first;
    first = next;
    if (far) ES_PREFETCH_Y(block + n * ES_WIDTH, y_plane, n * ES_WIDTH);
    NAME(spmm_block)(acc, n, x, &w, &offset, kept, bias, last);
    ES_T *y = block;
    if (residual) {
#pragma unroll
      for (int i = 0; i < MR; i++, residual += residual_plane)
#pragma unroll
        for (int v = 0; v < n; v++) acc[i][v] += LOAD(residual + (v == n - 1 ? last : v * ES_WIDTH));
    }
#pragma unroll
    for (int i = 0; i < MR; i++, y += y_plane)
#pragma unroll
      for (int v = 0; v < n; v++) STORE(y + (v == n - 1 ? last : v * ES_WIDTH), CLAMP(acc[i][v], lo, hi));
  }
}

ES_INLINE void NAME(spmm_tile_n)(const es_spmm *s, const int n, const ES_T *x, int64_t y0, int64_t last,
                                 const es_pieces *pieces) {
  int64_t done = 0;
  if (s->clamped && !pieces) {
    const int64_t whole = s->channels / MR;
    done = s->blocks < whole ? s->blocks : whole;
    if (done > 0) NAME(spmm_tile_whole)(s, n, x, y0, last, done);
  }
  for (int64_t b = done; b < s->blocks; b++) {
    V acc[MR][ES_MAX_N];
    int64_t first = s->start[b];
    const ES_T *w = s->w + first * MR;
    const int32_t *offset = s->offset + first;
    NAME(spmm_block)(acc, n, x, &w, &offset, s->start[b + 1] - first, s->bias + b * MR, last);
#pragma unroll
    for (int i = 0; i < MR; i++) {
      int64_t channel = b * MR + i;
      if (channel >= s->channels) break;
      const float lo = s->slope ? s->slope[channel] : s->lo;
      const ES_T *residual = s->residual ? s->residual + channel * s->residual_plane : 0;
      ES_T *y = s->y + channel * s->y_plane;
      if (!pieces) {
        // The last vector may overlap the one before it: both hold the same values there.
#pragma unroll
        for (int v = 0; v < n; v++) {
          int64_t p = y0 + (v == n - 1 ? last : v * ES_WIDTH);
          V value = residual ? acc[i][v] + LOAD(residual + p) : acc[i][v];
          STORE(y + p, s->clamped ? CLAMP(value, s->lo, s->hi) : value);
        }
        const int64_t from = y0 + (last < 0 ? last : 0);
        if (!s->clamped) ES_ACT_ROW(y + from, y + from, y0 + last + ES_WIDTH - from, s->act, lo, s->hi);
        continue;
      }
      // A tile of one vector may begin left of p (last < 0), in what the tile before it wrote.
      ES_T room[(ES_MAX_N + 1) * ES_WIDTH], *out = room + ES_WIDTH;
#pragma unroll
      for (int v = 0; v < n; v++)
        STORE(out + (v == n - 1 ? last : v * ES_WIDTH), s->clamps ? CLAMP(acc[i][v], s->lo, s->hi) : acc[i][v]);
      for (int k = 0; k < pieces->count; k++) {
        const ES_T *from = out + pieces->from[k];
        const int64_t to = pieces->to[k];
        int length = pieces->length[k], e = 0;
        for (; e + ES_WIDTH <= length; e += ES_WIDTH)
          STORE(y + to + e, residual ? LOAD(from + e) + LOAD(residual + to + e) : LOAD(from + e));
        for (; e + 4 <= length; e += 4)
          STORE4(y + to + e, residual ? LOAD4(from + e) + LOAD4(residual + to + e) : LOAD4(from + e));
        for (; e < length; e++) y[to + e] = residual ? from[e] + residual[to + e] : from[e];
        if (!s->clamps && s->act) ES_ACT_ROW(y + to, y + to, length, s->act, lo, s->hi);
      }
    }
  }
}

// Tile of n vectors at pixel p of a row; the last vector begins at `last`.
static void NAME(spmm_tile)(const es_spmm *s, int64_t n, const ES_T *x, int64_t y0, int64_t p, int64_t last,
                            int64_t pitch, int64_t valid) {
  es_pieces list, *pieces = 0;
  if (pitch > valid) {
    int64_t stop = p + last + ES_WIDTH, at = p;
    pieces = &list;
    list.count = 0;
    while (at < stop) {
      int64_t row = at / pitch, column = at % pitch;
      int64_t length = valid - column;
      if (length > stop - at) length = stop - at;
      if (length > 0) {
        list.from[list.count] = (int32_t)(at - p);
        list.to[list.count] = (int32_t)(row * valid + column);
        list.length[list.count++] = (int32_t)length;
      }
      at += pitch - column;
    }
  }
  // Nearly all tiles are whole: where the last vector lies is then a constant, and pairs of vectors load as one.
  if (n == ES_MAX_N && last == (ES_MAX_N - 1) * ES_WIDTH) {
    NAME(spmm_tile_n)(s, ES_MAX_N, x, y0 + p, (ES_MAX_N - 1) * ES_WIDTH, pieces);
    return;
  }
#define ES_CASE(count) \
  case count: NAME(spmm_tile_n)(s, count, x, y0 + p, last, pieces); break;
  switch (n) {
    ES_CASE(1)
#if ES_MAX_N >= 2
    ES_CASE(2)
#endif
#if ES_MAX_N >= 3
    ES_CASE(3)
#endif
#if ES_MAX_N >= 4
    ES_CASE(4)
#endif
#if ES_MAX_N >= 5
    ES_CASE(5)
#endif
#if ES_MAX_N >= 6
    ES_CASE(6)
#endif
#if ES_MAX_N >= 7
    ES_CASE(7)
#endif
#if ES_MAX_N >= 8
    ES_CASE(8)
#endif
  }
#undef ES_CASE
}
#undef ES_TIMES
#undef V
#undef LOAD
#undef STORE
#undef SPLAT
#undef LANE
#undef CLAMP
#undef LOAD4
#undef STORE4
#undef NAME
#undef ES_WIDTH
#undef ES_MAX_N
