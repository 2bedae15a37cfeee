// One pixel tile of spmm_f16 for vectors of ES_WIDTH halves, at most ES_MAX_N of them. Included by
// spmm_f16.h once per width; no include guard on purpose. The same as spmm_tile_f32.h but for types and `spmm_block`.
#define V ES_CAT(cf, ES_WIDTH, )
#define LOAD ES_CAT(load_c, ES_WIDTH, )
#define STORE ES_CAT(store_c, ES_WIDTH, )
#define SPLAT ES_CAT(splat_c, ES_WIDTH, )
#define LANE ES_CAT(ES_LANE, ES_WIDTH, )
#define CLAMP ES_CAT(clamp_c, ES_WIDTH, )
#define NAME(f) ES_CAT(f, ES_WIDTH, )

// Weights i.. of an entry times the vectors in `in`; `lane` says which of the weights in q it is.
#define ES_TIMES(i, q, lane)                                   \
  {                                                            \
    const V weight = LANE(q, lane);                            \
    _Pragma("unroll") for (int v = 0; v < n; v++) acc[i][v] += weight * in[v]; \
  }

// One kept entry: MR weights times n vectors at p, the last of them at p + last.
ES_INLINE void NAME(spmm_entry)(V acc[MR][ES_MAX_N], const int n, const _Float16 *p, const _Float16 *w, int64_t last) {
  V in[ES_MAX_N];
#pragma unroll
  for (int v = 0; v < n; v++) in[v] = LOAD(p + (v == n - 1 ? last : v * ES_WIDTH));
#if MR % 8 == 0 && ES_FP16
  const cf8 q = load_c8(w);
  ES_TIMES(0, q, 0) ES_TIMES(1, q, 1) ES_TIMES(2, q, 2) ES_TIMES(3, q, 3)
  ES_TIMES(4, q, 4) ES_TIMES(5, q, 5) ES_TIMES(6, q, 6) ES_TIMES(7, q, 7)
#elif MR % 4 == 0
#pragma unroll
  for (int i = 0; i < MR; i += 4) {
    const cf4 q = load_c4(w + i);
    ES_TIMES(i, q, 0) ES_TIMES(i + 1, q, 1) ES_TIMES(i + 2, q, 2) ES_TIMES(i + 3, q, 3)
  }
#else
#pragma unroll
  for (int i = 0; i < MR; i++) {
    const V weight = ES_CAT(splat_half, ES_WIDTH, )(w[i]);
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] += weight * in[v];
  }
#endif
}

// `count` kept entries: the loop all the time is spent in. Moves *weights and *offsets behind what it has read.
ES_INLINE void NAME(spmm_entries)(V acc[MR][ES_MAX_N], const int n, const _Float16 *x, const _Float16 **weights,
                                  const int32_t **offsets, int64_t count, int64_t last) {
  const _Float16 *w = *weights;
  const int32_t *offset = *offsets;
  // Two entries a round: small cores issue in order, and the loop itself is 4 of 32 instructions.
#pragma unroll 1
  for (int64_t pairs = count >> 1; pairs != 0; pairs--, w += 2 * MR, offset += 2) {
    const _Float16 *p0 = (const _Float16 *)((const char *)x + offset[0]);
    const _Float16 *p1 = (const _Float16 *)((const char *)x + offset[1]);
    NAME(spmm_entry)(acc, n, p0, w, last);
    NAME(spmm_entry)(acc, n, p1, w + MR, last);
  }
  if (count & 1) {
    NAME(spmm_entry)(acc, n, (const _Float16 *)((const char *)x + offset[0]), w, last);
    w += MR, offset++;
  }
  *weights = w, *offsets = offset;
}

// MR x n sums over the kept entries of one block, with the bias.
ES_INLINE void NAME(spmm_block)(V acc[MR][ES_MAX_N], const int n, const _Float16 *x, const _Float16 **weights,
                                const int32_t **offsets, int64_t kept, const float *bias, int64_t last) {
#pragma unroll
  for (int i = 0; i < MR; i++)
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] = ES_FP16 ? (V){} : SPLAT(bias[i]);
#if ES_FP16
  // The bias comes last: errors are those of the size that sums have on the way.
  typedef ES_CAT(vf, ES_WIDTH, ) floats;
  floats sums[MR][ES_MAX_N];
  for (int folded = 0;; folded = 1) {
    const int64_t count = kept < FOLD ? kept : FOLD;
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

// Blocks begin..end-1, all whole, with nothing but residual, min, max and store to do, which is nearly always. What is
// in s is read once: the compiler must take a store of a vector for one into s.
ES_INLINE void NAME(spmm_tile_whole)(const es_spmm *s, const int n, const _Float16 *x, int64_t y0, int64_t last,
                                     int64_t begin, int64_t end) {
  const float lo = s->lo, hi = s->hi, *bias = s->bias + begin * MR;
  const int64_t y_plane = s->y_plane;
  const int32_t *start = s->start + begin;
  int32_t first = *start++;
  const int32_t *offset = s->offset + first;
  const _Float16 *w = s->w + (int64_t)first * MR;
  _Float16 *block = s->y + begin * MR * y_plane + y0;
  const int64_t residual_plane = s->residual_plane;
  const _Float16 *residual = s->residual ? s->residual + begin * MR * residual_plane + y0 : 0;
  for (int64_t b = begin; b < end; b++, bias += MR, block += MR * y_plane) {
    V acc[MR][ES_MAX_N];
    const int32_t next = *start++;
    const int64_t kept = next - first;
    first = next;
    NAME(spmm_block)(acc, n, x, &w, &offset, kept, bias, last);
    _Float16 *y = block;
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

ES_INLINE void NAME(spmm_tile_n)(const es_spmm *s, const int n, const _Float16 *x, int64_t y0, int64_t last,
                                 const es_pieces *pieces) {
  int64_t begin = s->begin;
  if (s->clamped && !pieces) {
    const int64_t whole = s->channels / MR, end = s->end < whole ? s->end : whole;
    if (end > begin) {
      NAME(spmm_tile_whole)(s, n, x, y0, last, begin, end);
      begin = end;
    }
  }
  for (int64_t b = begin; b < s->end; b++) {
    V acc[MR][ES_MAX_N];
    int64_t first = s->start[b];
    const _Float16 *w = s->w + first * MR;
    const int32_t *offset = s->offset + first;
    NAME(spmm_block)(acc, n, x, &w, &offset, s->start[b + 1] - first, s->bias + b * MR, last);
#pragma unroll
    for (int i = 0; i < MR; i++) {
      int64_t channel = b * MR + i;
      if (channel >= s->channels) break;
      const float lo = s->slope ? s->slope[channel] : s->lo;
      const _Float16 *residual = s->residual ? s->residual + channel * s->residual_plane : 0;
      _Float16 *y = s->y + channel * s->y_plane;
      if (!pieces) {
        // The last vector may overlap the one before it: both hold the same values there.
#pragma unroll
        for (int v = 0; v < n; v++) {
          int64_t p = y0 + (v == n - 1 ? last : v * ES_WIDTH);
          V value = residual ? acc[i][v] + LOAD(residual + p) : acc[i][v];
          STORE(y + p, s->clamped ? CLAMP(value, s->lo, s->hi) : value);
        }
        const int64_t from = y0 + (last < 0 ? last : 0);
        if (!s->clamped) act_halves(y + from, y + from, y0 + last + ES_WIDTH - from, s->act, lo, s->hi);
        continue;
      }
      // A tile of one vector may begin left of p (last < 0), in what the tile before it wrote.
      _Float16 room[(ES_MAX_N + 1) * ES_WIDTH], *out = room + ES_WIDTH;
#pragma unroll
      for (int v = 0; v < n; v++)
        STORE(out + (v == n - 1 ? last : v * ES_WIDTH), s->clamps ? CLAMP(acc[i][v], s->lo, s->hi) : acc[i][v]);
      for (int k = 0; k < pieces->count; k++) {
        const _Float16 *from = out + pieces->from[k];
        const int64_t to = pieces->to[k];
        int length = pieces->length[k], e = 0;
        for (; e + ES_WIDTH <= length; e += ES_WIDTH)
          STORE(y + to + e, residual ? LOAD(from + e) + LOAD(residual + to + e) : LOAD(from + e));
        for (; e + 4 <= length; e += 4)
          store_c4(y + to + e, residual ? load_c4(from + e) + load_c4(residual + to + e) : load_c4(from + e));
        for (; e < length; e++) y[to + e] = residual ? from[e] + residual[to + e] : from[e];
        if (!s->clamps && s->act) act_halves(y + to, y + to, length, s->act, lo, s->hi);
      }
    }
  }
}

// Tile of n vectors at pixel p of a row; the last vector begins at `last`.
static void NAME(spmm_tile)(const es_spmm *s, int64_t n, const _Float16 *x, int64_t y0, int64_t p, int64_t last,
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
#undef NAME
#undef ES_WIDTH
#undef ES_MAX_N
