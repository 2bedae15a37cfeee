// edgesparse-kernel: op=dense_many dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"

ES_INLINE void bring(v128_t *quads, const uint8_t *w, int64_t pitch, int64_t inputs) {
  (void)pitch, (void)inputs;
#pragma unroll 1
  for (const v128_t *end = quads + PART / 16; quads != end; quads += 4, w += 64)
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) quads[v] = wasm_v128_load(w + 16 * v);
}
#include "many_qc8.h"

// As in kernels_common/dense_many_qc8.h.
void ES_KERNEL(dense_many_qc8)(
    const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale, const int32_t *sum,
    float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t begin,
    int64_t end) {
  const int64_t pitch = (inputs + ENTRIES - 1) / ENTRIES * PART, last = PANEL * end < outputs ? PANEL * end : outputs;
  for (int64_t o = PANEL * begin; o < last; o += PANELS * PANEL) {
    const int64_t own = last - o < PANELS * PANEL ? last - o : PANELS * PANEL;
    const places at = {w + o / PANEL * pitch, pitch, PART, 0};
    all_tokens(at, wscale + o, bias ? bias + o : 0, (activations){q, scale, sum, q_pitch}, y + o, y_pitch, tokens,
               inputs, own);
  }
}
