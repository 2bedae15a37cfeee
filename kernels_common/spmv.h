// Sparse (and dense) weights times one vector: fully connected layers and 1x1 planes.
//
//   y[n] = act(bias[n] + sum_j w[n, j] * x[offset_j]  (+ residual[n]))
//
// Packed as for spmm: blocks of MR outputs, a list of kept inputs each, MR weights per entry. Here
// the vector runs along the MR outputs, so nothing is gathered; MR = 1 is a plain sparse dot product.
//
// Included by spmv_f32.h and kernels_arm/spmv_f16.c, for x, w, residual and y of type ES_T (element_f32.h). Sums are
// floats: weights come from memory, converting them takes no longer.

#if MR >= ES_VL
#define W ES_VL
#else
#define W MR
#endif
#define N (MR / W)
#define CHAINS (N >= 4 ? 1 : 4 / N)  // independent sums, to hide the latency of the multiply-add
#if defined(__aarch64__)
#define ROUND 4  // entries: small cores issue in order, and the loop itself costs as much as an entry's multiply-adds
#else
#define ROUND CHAINS
#endif
#define ES_BYTES(n) ((n) / (int)sizeof(ES_T))

typedef float es_sums __attribute__((vector_size(4 * W)));
typedef float es_unaligned __attribute__((vector_size(4 * W), aligned(4)));
typedef ES_T es_stored __attribute__((vector_size(sizeof(ES_T) * W), aligned(sizeof(ES_T))));

// acc += weights of one entry * x[offset]
ES_INLINE void spmv_entry(es_sums *acc, const ES_T *x, int32_t offset, const ES_T *weight) {
  const float in = (float)*(const ES_T *)((const char *)x + offset);
#pragma unroll
  for (int v = 0; v < N; v++)
    acc[v] += in * __builtin_convertvector(*(const es_stored *)(weight + v * W), es_sums);
}

// x: (images, x_image); start, offset (bytes), w (entries, MR), bias, slope as in spmm; y and
// residual: (images, channels). Blocks begin..end-1 are computed. y must not overlap x.
ES_INLINE void spmv(const ES_T *x, const ES_T *w, const int32_t *offset, const int32_t *start, const float *bias,
                    const ES_T *residual, const float *slope, ES_T *y, int64_t begin, int64_t end, int64_t channels,
                    int64_t images, int64_t x_image, int64_t act, float lo, float hi) {
  for (int64_t image = 0; image < images; image++, x += x_image, y += channels)
    for (int64_t b = begin; b < end; b++) {
      es_sums acc[CHAINS][N];
      int64_t j = start[b], stop = start[b + 1];
#pragma unroll
      for (int c = 0; c < CHAINS; c++)
#pragma unroll
        for (int v = 0; v < N; v++) acc[c][v] = c ? (es_sums){} : *(const es_unaligned *)(bias + b * MR + v * W);
      const ES_T *weight = w + j * MR;
      for (; j + ROUND <= stop; j += ROUND)
#pragma unroll
        for (int c = 0; c < ROUND; c++, weight += MR) {
          // 8 kB ahead: weights are read once, from memory (2 kB: 1.3 times as long on Zen 3). Once per cache line.
          if (c * MR % ES_BYTES(64) == 0) __builtin_prefetch(weight + ES_BYTES(8192));
          spmv_entry(acc[c % CHAINS], x, offset[j + c], weight);
        }
      for (; j < stop; j++, weight += MR) spmv_entry(acc[0], x, offset[j], weight);
#pragma unroll
      for (int c = 1; c < CHAINS; c++)
#pragma unroll
        for (int v = 0; v < N; v++) acc[0][v] += acc[c][v];
      float out[MR];
#pragma unroll
      for (int v = 0; v < N; v++) *(es_unaligned *)(out + v * W) = acc[0][v];
      for (int i = 0; i < MR && b * MR + i < channels; i++) {
        int64_t n = b * MR + i;
        float sum = out[i] + (residual ? (float)residual[image * channels + n] : 0);
        y[n] = (ES_T)(act ? es_act1((vf1){sum}, act, slope ? slope[n] : lo, hi)[0] : sum);
      }
    }
}
