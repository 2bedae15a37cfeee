// The last tile of a plane of one pixel more than whole tiles, which 7x7 and 5x5 are: that pixel goes along instead of
// costing a tile of its own. Its MR sums lie side by side in vectors, as the weights do: one multiply-add per four.
//
//            NV vectors of x                one float of x
//   w[j][0]  [ v0 ][ v1 ][ v2 ] ..         w[j][0..3] * x[4 NV]
//
// Included by spmm.h for arm64, where registers are left for it.
#define ES_LAST ((NV - 1) * 4)

// Whether a row of so many pixels ends that way.
ES_INLINE int spmm_ends_with_pixel(const es_spmm *s, int64_t columns, int64_t pitch, int64_t valid) {
  return s->clamps && pitch <= valid && columns > 4 && columns % (NV * 4) == 1;
}

ES_INLINE void spmm_pixel_entry(vf4 acc[MR][NV], vf4 *one, const float *p, const float *w) {
  const vf4 in = splat4(p[NV * 4]);
  spmm_entry4(acc, NV, p, w, ES_LAST);
#pragma unroll
  for (int i = 0; i < MR; i += 4) one[i / 4] += load4(w + i) * in;
}

// NV vectors from y0 on and the pixel behind them. Every register is taken: with a caller around it, one would spill.
__attribute__((noinline)) static void spmm_tile_pixel(const es_spmm *s, const float *x, int64_t y0) {
  const float lo = s->lo, hi = s->hi, *bias = s->bias, *w = s->w + (int64_t)*s->start * MR;
  const int64_t y_plane = s->y_plane, whole = s->channels / MR;
  const int32_t *start = s->start, *offset = s->offset + *start;
  float *y = s->y + y0;
  for (int64_t blocks = s->blocks < whole ? s->blocks : whole; blocks > 0; blocks--, start++) {
    vf4 acc[MR][NV], one[MR / 4];
#pragma unroll
    for (int i = 0; i < MR; i++, bias++) {
      if (i % 4 == 0) one[i / 4] = load4(bias);
#pragma unroll
      for (int v = 0; v < NV; v++) acc[i][v] = splat4(*bias);
    }
    const int64_t kept = start[1] - start[0];
#pragma unroll 1
    for (int64_t pairs = kept >> 1; pairs != 0; pairs--, w += 2 * MR, offset += 2) {
      const float *p0 = (const float *)((const char *)x + offset[0]), *p1 = (const float *)((const char *)x + offset[1]);
      spmm_pixel_entry(acc, one, p0, w);
      spmm_pixel_entry(acc, one, p1, w + MR);
    }
    if (kept & 1) {
      spmm_pixel_entry(acc, one, (const float *)((const char *)x + offset[0]), w);
      w += MR, offset++;
    }
#pragma unroll
    for (int i = 0; i < MR; i++, y += y_plane) {
      if (i % 4 == 0) one[i / 4] = es_clamp4(one[i / 4], lo, hi);
#pragma unroll
      for (int v = 0; v < NV; v++) store4(y + v * 4, es_clamp4(acc[i][v], lo, hi));
      y[NV * 4] = one[i / 4][i % 4];
    }
  }
  if (s->blocks > whole) {  // the last block, some of whose channels do not exist
    const int64_t done = whole * MR;
    es_spmm rest = *s;
    rest.blocks -= whole, rest.channels -= done, rest.start += whole, rest.bias += done, rest.y += done * y_plane;
    spmm_tile4(&rest, NV, x, y0, 0, ES_LAST, 0, 0);
    spmm_tile4(&rest, 1, x + NV * 4, y0, NV * 4, -3, 0, 0);
  }
}
