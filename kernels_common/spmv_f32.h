// Sparse (and dense) weights times one vector: fully connected layers and 1x1 planes.
//
//   y[n] = act(bias[n] + sum_j w[n, j] * x[offset_j]  (+ residual[n]))
//
// Packed as for spmm: blocks of MR outputs, a list of kept inputs each, MR weights per entry. Here
// the vector runs along the MR outputs, so nothing is gathered; MR = 1 is a plain sparse dot product.
#include "es.h"
#include "activation_f32.h"

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

// x: (images, x_image); start, offset (bytes), w (entries, MR), bias, slope as in spmm; y and
// residual: (images, channels). Blocks begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(spmv_f32)(const float *x, const float *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const float *residual, const float *slope, float *y, int64_t begin,
                         int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t act, float lo,
                         float hi) {
  for (int64_t image = 0; image < images; image++, x += x_image, y += channels)
    for (int64_t b = begin; b < end; b++) {
      typedef float vector __attribute__((vector_size(4 * W)));
      typedef float unaligned __attribute__((vector_size(4 * W), aligned(4)));
      vector acc[CHAINS][N];
      int64_t j = start[b], stop = start[b + 1];
#pragma unroll
      for (int v = 0; v < N; v++) acc[0][v] = *(const unaligned *)(bias + b * MR + v * W);
#pragma unroll
      for (int c = 1; c < CHAINS; c++)
#pragma unroll
        for (int v = 0; v < N; v++) acc[c][v] = (vector){};
      const float *weight = w + j * MR;
      for (; j + ROUND <= stop; j += ROUND)
#pragma unroll
        for (int c = 0; c < ROUND; c++, weight += MR) {
          float in = *(const float *)((const char *)x + offset[j + c]);
          // 8 kB ahead: weights are read once, from memory (2 kB: 1.3 times as long on Zen 3). Once per line of the cache.
          if (c * MR % 16 == 0) __builtin_prefetch(weight + 2048);
#pragma unroll
          for (int v = 0; v < N; v++) acc[c % CHAINS][v] += (in - (vector){}) * *(const unaligned *)(weight + v * W);
        }
      for (; j < stop; j++, weight += MR) {
        float in = *(const float *)((const char *)x + offset[j]);
#pragma unroll
        for (int v = 0; v < N; v++) acc[0][v] += (in - (vector){}) * *(const unaligned *)(weight + v * W);
      }
#pragma unroll
      for (int c = 1; c < CHAINS; c++)
#pragma unroll
        for (int v = 0; v < N; v++) acc[0][v] += acc[c][v];
      float out[MR];
#pragma unroll
      for (int v = 0; v < N; v++) *(unaligned *)(out + v * W) = acc[0][v];
      for (int i = 0; i < MR && b * MR + i < channels; i++) {
        int64_t n = b * MR + i;
        float sum = out[i] + (residual ? residual[image * channels + n] : 0);
        y[n] = act ? es_act1((vf1){sum}, act, slope ? slope[n] : lo, hi)[0] : sum;
      }
    }
}
