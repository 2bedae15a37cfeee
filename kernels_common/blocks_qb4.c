// edgesparse-kernel: op=blocks dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon
#include "blocks_qb4.h"

#define AHEAD 128  // blocks: whose weights are prefetched

// y[o] = bias[o] + sum_i w[o, i] * x[i] of weights of which whole blocks of 4 outputs x 16 inputs are zero, after
// "GQSA: Group Quantization and Sparsity for Accelerating Large Language Model Inference". Groups begin..end-1 of 4
// outputs are computed.
//
// Blocks start[g]..start[g+1]-1 are those of group g that are kept: w: (blocks, 32), see blocks_qb4.h, wscale:
// (blocks, 4), column: (blocks), which 16 inputs. x = scale * q in groups of 16; offset: -64 times their sums;
// q is padded with zeros to 16. bias: (outputs), or null. y: (outputs).
void ES_KERNEL(blocks_qb4)(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, const int32_t *start, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t outputs, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; g++) {
    vf f[2][ES_SIDE] = {};  // two sums: the next addition need not wait for the last one
    const int64_t last = start[g + 1];
    int64_t b = start[g];
    for (; b + 2 <= last; b += 2) {
      __builtin_prefetch(w + 32 * (b + AHEAD));
      for (int i = 0; i < 2; i++) {
        const es_block block = load_block(w + 32 * (b + i), wscale + 4 * (b + i));
        const int64_t c = column[b + i];
        add_block(f[i], &block, q + 16 * c, scale[c], offset[c]);
      }
    }
    if (b < last) {
      const es_block block = load_block(w + 32 * b, wscale + 4 * b);
      const int64_t c = column[b];
      add_block(f[1], &block, q + 16 * c, scale[c], offset[c]);
    }
    for (int v = 0; v < ES_SIDE; v++) f[0][v] += f[1][v];
    store_block(y + 4 * g, f[0], bias ? bias + 4 * g : 0, outputs - 4 * g);
  }
}
