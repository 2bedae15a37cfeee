// edgesparse-kernel: op=dense dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"

// One panel; `words`: whether how is IN_WORDS.
ES_INLINE const uint8_t *panel(
    vf4 *f, const uint8_t *w, const int8_t *q, const float *scale, const int32_t *sum, int32_t groups, way how,
    const int words) {
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) f[v] = (vf4){0};
  for (int32_t g = 0; g < groups; g++, w += PART, q += ENTRIES) {
    vi4 d[4];
    float by = scale[g];
    if (words) {
      int32_t pairs[2 * QUADS];
      put_pairs(pairs, q);
      dot_pairs(d, w, pairs);
      by *= 1.0f / 256;
    }
#ifdef __wasm_relaxed_simd__
    else dot_quads(d, w, q, sum[g], how);
#else
    (void)sum, (void)how;
#endif
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) f[v] += __builtin_convertvector(d[v], vf4) * by;
  }
  return w;
}

// As in kernels_common/dense_one_qc8.h.
void ES_KERNEL(dense_qc8)(
    const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale, const int32_t *sum,
    float *y, int64_t inputs, int64_t outputs, int64_t begin, int64_t end) {
  const way how = es_way();
  const int32_t groups = (int32_t)((inputs + ENTRIES - 1) / ENTRIES);
  w += (size_t)begin * groups * PART;
  for (int64_t o = PANEL * begin; o < PANEL * end; o += PANEL) {
    vf4 f[4];
    w = how == IN_WORDS ? panel(f, w, q, scale, sum, groups, how, 1) : panel(f, w, q, scale, sum, groups, how, 0);
    finish_panel(y + o, f, wscale + o, bias ? bias + o : 0, outputs - o);
  }
}
