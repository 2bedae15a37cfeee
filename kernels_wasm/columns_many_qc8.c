// edgesparse-kernel: op=columns_many dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"

enum { BYTES = 16 };
#include "columns_place_qc8.h"

ES_INLINE void bring(v128_t *quads, const uint8_t *w, int64_t pitch, int64_t inputs) {
#pragma unroll 1
  for (int64_t k = 0; k < ENTRIES; k += 4, quads += 4) {
    v128_t row[4];
#pragma unroll
    for (int64_t e = 0; e < 4; e++) row[e] = wasm_v128_load(w + (k + e < inputs ? k + e : inputs - 1) * pitch);
    interleave(quads, row);
  }
}
#include "many_qc8.h"

// As in kernels_common/columns_many_qc8.h.
void ES_KERNEL(columns_many_qc8)(
    const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale, const int32_t *sum,
    float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t tile,
    int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) {
    const span s = find_span(outputs, tile, t, t + 1);
    const int64_t pitch = row_bytes(outputs);
    for (int64_t o = 0; o < s.own; o += PANELS * PANEL) {
      const int64_t own = s.own - o < PANELS * PANEL ? s.own - o : PANELS * PANEL, from = s.from + o;
      const places at = {w + from, PANEL, ENTRIES * pitch, pitch};
      all_tokens(at, wscale + from, bias ? bias + from : 0, (activations){q, scale, sum, q_pitch}, y + from, y_pitch,
                 tokens, inputs, own);
    }
  }
}
