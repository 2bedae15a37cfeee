// edgesparse-kernel: op=spmv dtype=f16 isa=neon
// tiles: MR=1 | MR=2 | MR=4 | MR=8 | MR=16
//
// As spmv_f32.h, which says what is what. Sums are floats: weights come from memory, converting them takes no longer.
#include "half.h"

#define W (MR < 4 ? MR : 4)
#define N (MR / W)
#define CHAINS (N >= 4 ? 1 : 4 / N)  // independent sums, to hide the latency of the multiply-add
#define ROUND 4                      // entries: small cores issue in order

typedef float vector __attribute__((vector_size(4 * W)));
typedef float unaligned __attribute__((vector_size(4 * W), aligned(4)));
typedef _Float16 halves __attribute__((vector_size(2 * W), aligned(2)));

// x: (images, x_image); start, offset (bytes), w (entries, MR), bias, slope as in spmm_f16; y and
// residual: (images, channels). Blocks begin..end-1 are computed. y must not overlap x.
void ES_KERNEL(spmv_f16)(const _Float16 *x, const _Float16 *w, const int32_t *offset, const int32_t *start,
                         const float *bias, const _Float16 *residual, const float *slope, _Float16 *y, int64_t begin,
                         int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t act, float lo,
                         float hi) {
  for (int64_t image = 0; image < images; image++, x += x_image, y += channels)
    for (int64_t b = begin; b < end; b++) {
      vector acc[CHAINS][N];
      int64_t j = start[b], stop = start[b + 1];
#pragma unroll
      for (int c = 0; c < CHAINS; c++)
#pragma unroll
        for (int v = 0; v < N; v++) acc[c][v] = c ? (vector){} : *(const unaligned *)(bias + b * MR + v * W);
      const _Float16 *weight = w + j * MR;
      for (; j + ROUND <= stop; j += ROUND)
#pragma unroll
        for (int c = 0; c < ROUND; c++, weight += MR) {
          const float in = (float)*(const _Float16 *)((const char *)x + offset[j + c]);
          if (c * MR % 32 == 0) __builtin_prefetch(weight + 1024);
#pragma unroll
          for (int v = 0; v < N; v++)
            acc[c % CHAINS][v] += in * __builtin_convertvector(*(const halves *)(weight + v * W), vector);
        }
      for (; j < stop; j++, weight += MR) {
        const float in = (float)*(const _Float16 *)((const char *)x + offset[j]);
#pragma unroll
        for (int v = 0; v < N; v++)
          acc[0][v] += in * __builtin_convertvector(*(const halves *)(weight + v * W), vector);
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
        float sum = out[i] + (residual ? (float)residual[image * channels + n] : 0);
        y[n] = (_Float16)(act ? es_act1((vf1){sum}, act, slope ? slope[n] : lo, hi)[0] : sum);
      }
    }
}
