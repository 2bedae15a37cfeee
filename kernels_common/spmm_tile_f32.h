// One pixel tile of spmm for vectors of ES_WIDTH floats, at most ES_MAX_N of them. Included by
// spmm_f32.h once per width; no include guard on purpose.
#define V ES_CAT(vf, ES_WIDTH, )
#define LOAD ES_CAT(load, ES_WIDTH, )
#define STORE ES_CAT(store, ES_WIDTH, )
#define SPLAT ES_CAT(splat, ES_WIDTH, )
#define LANE ES_CAT(ES_LANE, ES_WIDTH, )
#define CLAMP ES_CAT(es_clamp, ES_WIDTH, )
#define NAME(f) ES_CAT(f, ES_WIDTH, )

// One kept entry: MR weights times n vectors at p, the last of them at p + last.
ES_INLINE void NAME(spmm_entry)(V acc[MR][ES_MAX_N], const int n, const float *p, const float *w, int64_t last) {
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
  for (int i = 0; i < MR; i += 4) {
    vf4 q = load4(w + i);
    V w0 = LANE(q, 0), w1 = LANE(q, 1), w2 = LANE(q, 2), w3 = LANE(q, 3);
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] += w0 * in[v];
#pragma unroll
    for (int v = 0; v < n; v++) acc[i + 1][v] += w1 * in[v];
#pragma unroll
    for (int v = 0; v < n; v++) acc[i + 2][v] += w2 * in[v];
#pragma unroll
    for (int v = 0; v < n; v++) acc[i + 3][v] += w3 * in[v];
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

// The loop all the time is spent in: MR x n accumulators over the kept entries of one block.
// Moves *weights and *offsets behind what it has read.
ES_INLINE void NAME(spmm_block)(V acc[MR][ES_MAX_N], const int n, const float *x, const float **weights,
                                const int32_t **offsets, int64_t kept, const float *bias, int64_t last) {
  const float *w = *weights;
  const int32_t *offset = *offsets;
#pragma unroll
  for (int i = 0; i < MR; i++)
#pragma unroll
    for (int v = 0; v < n; v++) acc[i][v] = SPLAT(bias[i]);
#if defined(__aarch64__)
  // Two entries a round: small cores issue in order, and the loop itself is 4 of 32 instructions.
#pragma unroll 1
  for (int64_t pairs = kept >> 1; pairs != 0; pairs--, w += 2 * MR, offset += 2) {
    const float *p0 = (const float *)((const char *)x + offset[0]), *p1 = (const float *)((const char *)x + offset[1]);
    NAME(spmm_entry)(acc, n, p0, w, last);
    NAME(spmm_entry)(acc, n, p1, w + MR, last);
  }
  if (kept & 1) {
    NAME(spmm_entry)(acc, n, (const float *)((const char *)x + offset[0]), w, last);
    w += MR, offset++;
  }
#else
#pragma unroll 1
  for (int64_t j = 0; j < kept; j++, w += MR) {
    ES_PREFETCH(x, offset + j, n * ES_WIDTH);
    NAME(spmm_entry)(acc, n, (const float *)((const char *)x + offset[j]), w, last);
  }
  offset += kept;
#endif
  *weights = w, *offsets = offset;
}

// Blocks begin..end-1, all whole, with nothing but residual, min, max and store to do, which is nearly always. What is
// in s is read once: the compiler must take a store of a vector for one into s.
ES_INLINE void NAME(spmm_tile_whole)(const es_spmm *s, const int n, const float *x, int64_t y0, int64_t last,
                                     int64_t begin, int64_t end) {
  const float lo = s->lo, hi = s->hi, *bias = s->bias + begin * MR;
  const int far = s->far;
  const int64_t y_plane = s->y_plane;
  const int32_t *start = s->start + begin;
  int32_t first = *start++;
  const int32_t *offset = s->offset + first;
  const float *w = s->w + (int64_t)first * MR;
  float *block = s->y + begin * MR * y_plane + y0;
  const int64_t residual_plane = s->residual_plane;
  const float *residual = s->residual ? s->residual + begin * MR * residual_plane + y0 : 0;
  for (int64_t b = begin; b < end; b++, bias += MR, block += MR * y_plane) {
    V acc[MR][ES_MAX_N];
    const int32_t next = *start++;
    const int64_t kept = next - first;
    first = next;
    if (far) ES_PREFETCH_Y(block + n * ES_WIDTH, y_plane, n * ES_WIDTH);
    NAME(spmm_block)(acc, n, x, &w, &offset, kept, bias, last);
    float *y = block;
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

ES_INLINE void NAME(spmm_tile_n)(const es_spmm *s, const int n, const float *x, int64_t y0, int64_t last,
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
    const float *w = s->w + first * MR;
    const int32_t *offset = s->offset + first;
    NAME(spmm_block)(acc, n, x, &w, &offset, s->start[b + 1] - first, s->bias + b * MR, last);
#pragma unroll
    for (int i = 0; i < MR; i++) {
      int64_t channel = b * MR + i;
      if (channel >= s->channels) break;
      const float lo = s->slope ? s->slope[channel] : s->lo;
      const float *residual = s->residual ? s->residual + channel * s->residual_plane : 0;
      float *y = s->y + channel * s->y_plane;
      if (!pieces) {
        // The last vector may overlap the one before it: both hold the same values there.
#pragma unroll
        for (int v = 0; v < n; v++) {
          int64_t p = y0 + (v == n - 1 ? last : v * ES_WIDTH);
          V value = residual ? acc[i][v] + LOAD(residual + p) : acc[i][v];
          STORE(y + p, s->clamped ? CLAMP(value, s->lo, s->hi) : value);
        }
        const int64_t from = y0 + (last < 0 ? last : 0);
        if (!s->clamped) es_act_row(y + from, y + from, y0 + last + ES_WIDTH - from, s->act, lo, s->hi);
        continue;
      }
      // A tile of one vector may begin left of p (last < 0), in what the tile before it wrote.
      float room[(ES_MAX_N + 1) * ES_WIDTH], *out = room + ES_WIDTH;
#pragma unroll
      for (int v = 0; v < n; v++)
        STORE(out + (v == n - 1 ? last : v * ES_WIDTH), s->clamps ? CLAMP(acc[i][v], s->lo, s->hi) : acc[i][v]);
      for (int k = 0; k < pieces->count; k++) {
        const float *from = out + pieces->from[k];
        const int64_t to = pieces->to[k];
        int length = pieces->length[k], e = 0;
        for (; e + ES_WIDTH <= length; e += ES_WIDTH)
          STORE(y + to + e, residual ? LOAD(from + e) + LOAD(residual + to + e) : LOAD(from + e));
        for (; e + 4 <= length; e += 4)
          store4(y + to + e, residual ? load4(from + e) + load4(residual + to + e) : load4(from + e));
        for (; e < length; e++) y[to + e] = residual ? from[e] + residual[to + e] : from[e];
        if (!s->clamps && s->act) es_act_row(y + to, y + to, length, s->act, lo, s->hi);
      }
    }
  }
}

// Tile of n vectors at pixel p of a row; the last vector begins at `last`.
static void NAME(spmm_tile)(const es_spmm *s, int64_t n, const float *x, int64_t y0, int64_t p, int64_t last,
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
  switch (n) {
    case 1: NAME(spmm_tile_n)(s, 1, x, y0 + p, last, pieces); break;
#if ES_MAX_N >= 2
    case 2: NAME(spmm_tile_n)(s, 2, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 3
    case 3: NAME(spmm_tile_n)(s, 3, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 4
    case 4: NAME(spmm_tile_n)(s, 4, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 5
    case 5: NAME(spmm_tile_n)(s, 5, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 6
    case 6: NAME(spmm_tile_n)(s, 6, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 7
    case 7: NAME(spmm_tile_n)(s, 7, x, y0 + p, last, pieces); break;
#endif
#if ES_MAX_N >= 8
    case 8: NAME(spmm_tile_n)(s, 8, x, y0 + p, last, pieces); break;
#endif
  }
}
#undef V
#undef LOAD
#undef STORE
#undef SPLAT
#undef LANE
#undef CLAMP
#undef NAME
#undef ES_WIDTH
#undef ES_MAX_N
