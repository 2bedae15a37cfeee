// The pieces of winograd_f32.h on vectors: the transforms of one dimension, and the register tile of the products.

// Forth: e = B^T d, back: e = A^T d. The polynomial is that of the points 0, +-P, +-Q and infinity. The smaller the
// spread of the powers of the points, the smaller the rounding errors: with +-1 and +-2 they are 3 times as large.
// The same points as in edgesparse/ops/winograd.py.
#if M == 4
#define P 0.75f
#define Q 1.5f
ES_INLINE void winograd_forth(const vf d[6], vf e[6]) {
  const vf p = d[4] - Q * Q * d[2], pp = P * (d[3] - Q * Q * d[1]);
  const vf q = d[4] - P * P * d[2], qq = Q * (d[3] - P * P * d[1]);
  e[0] = P * P * Q * Q * d[0] + (d[4] - (P * P + Q * Q) * d[2]);
  e[1] = p + pp;
  e[2] = p - pp;
  e[3] = q + qq;
  e[4] = q - qq;
  e[5] = P * P * Q * Q * d[1] + (d[5] - (P * P + Q * Q) * d[3]);
}
ES_INLINE void winograd_back(const vf d[6], vf e[4]) {
  const vf p = d[1] + d[2], pp = d[1] - d[2], q = d[3] + d[4], qq = d[3] - d[4];
  e[0] = d[0] + p + q;
  e[1] = P * pp + Q * qq;
  e[2] = P * P * p + Q * Q * q;
  e[3] = P * P * P * pp + (Q * Q * Q * qq + d[5]);
}
#undef P
#undef Q
#else
// 0, +-1 and infinity
ES_INLINE void winograd_forth(const vf d[4], vf e[4]) {
  e[0] = d[2] - d[0];
  e[1] = d[2] + d[1];
  e[2] = d[2] - d[1];
  e[3] = d[3] - d[1];
}
ES_INLINE void winograd_back(const vf d[4], vf e[2]) {
  e[0] = d[0] + d[1] + d[2];
  e[1] = d[1] - d[2] + d[3];
}
#endif

ES_INLINE void winograd_transpose4(vf4 a, vf4 b, vf4 c, vf4 d, vf4 t[4]) {
  const vf4 ac = __builtin_shufflevector(a, c, 0, 4, 1, 5), bd = __builtin_shufflevector(b, d, 0, 4, 1, 5);
  const vf4 ca = __builtin_shufflevector(a, c, 2, 6, 3, 7), db = __builtin_shufflevector(b, d, 2, 6, 3, 7);
  t[0] = __builtin_shufflevector(ac, bd, 0, 4, 1, 5);
  t[1] = __builtin_shufflevector(ac, bd, 2, 6, 3, 7);
  t[2] = __builtin_shufflevector(ca, db, 0, 4, 1, 5);
  t[3] = __builtin_shufflevector(ca, db, 2, 6, 3, 7);
}

// The first `count` lanes of v, and zeros.
ES_INLINE vf4 winograd_keep(vf4 v, int64_t count) {
  const int32_t n = count < 0 ? 0 : count < 4 ? (int32_t)count : 4;
  return (vf4)((vi4)v & ((vi4){0, 1, 2, 3} < n));
}

// Four tiles of M neighbouring floats become M vectors, number k with float k of each.
ES_INLINE void winograd_split(vf4 v[M]) {
#if M == 4
  winograd_transpose4(v[0], v[1], v[2], v[3], v);
#else
  const vf4 a = v[0], b = v[1];
  v[0] = __builtin_shufflevector(a, b, 0, 2, 4, 6);
  v[1] = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

// The other way round for ES_VL tiles: to[t * M + k] = from[k][t].
ES_INLINE void winograd_join(const vf from[M], float *to) {
#if ES_VL == 1
  for (int k = 0; k < M; k++) to[k] = from[k][0];
#else
  float columns[M][ES_VL];
#pragma unroll
  for (int k = 0; k < M; k++) store_vf(columns[k], from[k]);
#pragma unroll
  for (int t = 0; t < ES_VL; t += 4, to += 4 * M) {
    const vf4 a = load4(columns[0] + t), b = load4(columns[1] + t);
#if M == 4
    vf4 four[4];
    winograd_transpose4(a, b, load4(columns[2] + t), load4(columns[3] + t), four);
#pragma unroll
    for (int k = 0; k < 4; k++) store4(to + 4 * k, four[k]);
#else
    store4(to, __builtin_shufflevector(a, b, 0, 4, 1, 5));
    store4(to + 4, __builtin_shufflevector(a, b, 2, 6, 3, 7));
#endif
  }
#endif
}

// See spmm.h: otherwise the compiler loads all weights first, and spills.
#if defined(__x86_64__)
#define ES_IN_ORDER() __asm__ volatile("" ::: "memory")
#endif

// m = w u for n vectors of tiles: a dense matrix product, all operands of the inner loop side by side.
ES_INLINE void winograd_tile_n(const int n, const float *u, const float *w, float *m, int64_t depth, int64_t blocks,
                               int64_t lanes, int64_t m_row) {
  for (int64_t b = 0; b < blocks; b++) {
    vf acc[MR][NV] = {0};
    const float *in = u;
#pragma unroll 1
    for (int64_t c = 0; c < depth; c++, in += lanes, w += MR) {
      vf v[NV];
#pragma unroll
      for (int j = 0; j < n; j++) v[j] = load_vf(in + j * ES_VL);
#if defined(__x86_64__)
#pragma unroll
      for (int i = 0; i < MR; i++) {
        ES_IN_ORDER();
        const vf weight = splat_vf(w[i]);
#pragma unroll
        for (int j = 0; j < n; j++) acc[i][j] += weight * v[j];
      }
#else
#pragma unroll
      for (int i = 0; i < MR; i += 4) {
        const vf4 q = load4(w + i);
        const vf w0 = ES_LANE4(q, 0), w1 = ES_LANE4(q, 1), w2 = ES_LANE4(q, 2), w3 = ES_LANE4(q, 3);
#pragma unroll
        for (int j = 0; j < n; j++) {
          acc[i][j] += w0 * v[j];
          acc[i + 1][j] += w1 * v[j];
          acc[i + 2][j] += w2 * v[j];
          acc[i + 3][j] += w3 * v[j];
        }
      }
#endif
    }
#pragma unroll
    for (int i = 0; i < MR; i++, m += m_row)
#pragma unroll
      for (int j = 0; j < n; j++) store_vf(m + j * ES_VL, acc[i][j]);
  }
}

ES_INLINE void winograd_tile(int64_t n, const float *u, const float *w, float *m, int64_t depth, int64_t blocks,
                             int64_t lanes, int64_t m_row) {
  switch (n) {
    case 1: winograd_tile_n(1, u, w, m, depth, blocks, lanes, m_row); break;
#if NV >= 2
    case 2: winograd_tile_n(2, u, w, m, depth, blocks, lanes, m_row); break;
#endif
#if NV >= 3
    case 3: winograd_tile_n(3, u, w, m, depth, blocks, lanes, m_row); break;
#endif
#if NV >= 4
    case 4: winograd_tile_n(4, u, w, m, depth, blocks, lanes, m_row); break;
#endif
  }
}
