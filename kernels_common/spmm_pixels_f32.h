// The last tile of a row that is one pixel, or four, longer than whole vectors, as planes of 7x7 (48 + 1) and 14x14
// (192 + 4) are: these go along instead of costing a vector of their own. A pixel's MR sums lie side by side, as the
// weights do: one multiply-add per four of them.
//
//            n vectors of x                  one float of x each
//   w[j][0]  [ v0 ][ v1 ][ v2 ] ..           w[j][0..3] * x[n ES_VL], w[j][0..3] * x[n ES_VL + 1] ..
//
// Included by spmm.h where registers are left for it: arm64 has them for one pixel beside NV vectors, AVX-512 for four.
// (AVX2 has them for one beside two vectors instead of three, which gained 1 to 3% of a plane of 7x7.)
#if defined(__aarch64__)
#define ES_ALONE __attribute__((noinline)) static  // every register is taken: with a caller around it, one would spill
#else
#define ES_ALONE ES_INLINE
#endif

// How many pixels of a row of `columns` are computed that way.
ES_INLINE int spmm_pixels(const es_spmm *s, int64_t columns, int64_t pitch, int64_t valid) {
  if (!s->clamps || pitch > valid) return 0;
#if defined(__aarch64__)
  return columns > 4 && columns % (NV * 4) == 1;
#else
  const int left = (int)(columns % ES_VL);
  return columns >= 2 * ES_VL && (left == 1 || left == 4) ? left : 0;
#endif
}

ES_INLINE void spmm_pixels_entry(vf acc[MR][NV], vf4 sums[4][MR / 4], const int n, const int pixels, const float *p,
                                 const float *w) {
  vf4 in[4];
#pragma unroll
  for (int k = 0; k < pixels; k++) in[k] = splat4(p[n * ES_VL + k]);
  ES_CAT(spmm_entry, ES_VL, )(acc, n, p, w, (n - 1) * ES_VL);
#pragma unroll
  for (int i = 0; i < MR; i += 4)
#pragma unroll
    for (int k = 0; k < pixels; k++) sums[k][i / 4] += load4(w + i) * in[k];
}

// Rows of four pixels from four pixels of four rows.
ES_INLINE void spmm_pixels_turn(vf4 t[4]) {
  const vf4 low = __builtin_shufflevector(t[0], t[1], 0, 4, 1, 5), high = __builtin_shufflevector(t[0], t[1], 2, 6, 3, 7);
  const vf4 low2 = __builtin_shufflevector(t[2], t[3], 0, 4, 1, 5), high2 = __builtin_shufflevector(t[2], t[3], 2, 6, 3, 7);
  t[0] = __builtin_shufflevector(low, low2, 0, 1, 4, 5), t[1] = __builtin_shufflevector(low, low2, 2, 3, 6, 7);
  t[2] = __builtin_shufflevector(high, high2, 0, 1, 4, 5), t[3] = __builtin_shufflevector(high, high2, 2, 3, 6, 7);
}

// n vectors from y0 on, and the pixels behind them.
ES_ALONE void spmm_tile_pixels_n(const es_spmm *s, const int n, const int pixels, const float *x, int64_t y0) {
  const float lo = s->lo, hi = s->hi, *bias = s->bias, *w = s->w + (int64_t)*s->start * MR;
  const int64_t y_plane = s->y_plane, whole = s->channels / MR;
  const int32_t *start = s->start, *offset = s->offset + *start;
  float *y = s->y + y0;
  for (int64_t blocks = s->blocks < whole ? s->blocks : whole; blocks > 0; blocks--, start++) {
    vf acc[MR][NV];
    vf4 sums[4][MR / 4];
#pragma unroll
    for (int i = 0; i < MR; i++, bias++) {
      if (i % 4 == 0)
#pragma unroll
        for (int k = 0; k < pixels; k++) sums[k][i / 4] = load4(bias);
#pragma unroll
      for (int v = 0; v < n; v++) acc[i][v] = splat_vf(*bias);
    }
    const int64_t kept = start[1] - start[0];
#if defined(__aarch64__)
#pragma unroll 1
    for (int64_t pairs = kept >> 1; pairs != 0; pairs--, w += 2 * MR, offset += 2) {
      const float *p0 = (const float *)((const char *)x + offset[0]), *p1 = (const float *)((const char *)x + offset[1]);
      spmm_pixels_entry(acc, sums, n, pixels, p0, w);
      spmm_pixels_entry(acc, sums, n, pixels, p1, w + MR);
    }
    if (kept & 1) {
      spmm_pixels_entry(acc, sums, n, pixels, (const float *)((const char *)x + offset[0]), w);
      w += MR, offset++;
    }
#else
#pragma unroll 1
    for (int64_t j = 0; j < kept; j++, w += MR) {
      ES_PREFETCH(x, offset + j, n * ES_VL);
      spmm_pixels_entry(acc, sums, n, pixels, (const float *)((const char *)x + offset[j]), w);
    }
    offset += kept;
#endif
#pragma unroll
    for (int i = 0; i < MR; i++, y += y_plane) {
      if (i % 4 == 0) {
        vf4 turned[4];
#pragma unroll
        for (int k = 0; k < pixels; k++) turned[k] = sums[k][i / 4] = es_clamp4(sums[k][i / 4], lo, hi);
        if (pixels == 4) {
          spmm_pixels_turn(turned);
#pragma unroll
          for (int k = 0; k < 4; k++) store4(y + k * y_plane + n * ES_VL, turned[k]);
        }
      }
#pragma unroll
      for (int v = 0; v < n; v++) store_vf(y + v * ES_VL, ES_CAT(es_clamp, ES_VL, )(acc[i][v], lo, hi));
      if (pixels == 1) y[n * ES_VL] = sums[0][i / 4][i % 4];
    }
  }
  if (s->blocks > whole) {  // the last block, some of whose channels do not exist
    const int64_t done = whole * MR;
    es_spmm rest = *s;
    rest.blocks -= whole, rest.channels -= done, rest.start += whole, rest.bias += done, rest.y += done * y_plane;
    ES_CAT(spmm_tile, ES_VL, )(&rest, n, x, y0, 0, (n - 1) * ES_VL, 0, 0);
    spmm_tile4(&rest, 1, x + n * ES_VL, y0, n * ES_VL, pixels - 4, 0, 0);
  }
}

// A row that ends with `pixels`: its vectors in tiles of about as many, the last of them with the pixels.
ES_INLINE void spmm_row_pixels(const es_spmm *s, const int pixels, const float *x, int64_t y0, int64_t columns) {
  const int64_t vectors = columns / ES_VL, tiles = (vectors + NV - 1) / NV;
  int64_t p = 0;
  for (int64_t t = 0; t < tiles - 1; t++) {
    const int64_t n = vectors / tiles + (t < vectors % tiles);
    ES_CAT(spmm_tile, ES_VL, )(s, n, x + p, y0, p, (n - 1) * ES_VL, 0, 0);
    p += n * ES_VL;
  }
#if defined(__aarch64__)
  (void)pixels;
  spmm_tile_pixels_n(s, NV, 1, x + p, y0 + p);
#else
  switch (vectors / tiles * 8 + pixels) {
#define ES_CASE(n) \
  case n * 8 + 1: spmm_tile_pixels_n(s, n, 1, x + p, y0 + p); break; \
  case n * 8 + 4: spmm_tile_pixels_n(s, n, 4, x + p, y0 + p); break;
    ES_CASE(2)
    ES_CASE(3)
    ES_CASE(4)
#undef ES_CASE
  }
#endif
}
