// edgesparse-kernel: op=rows dtype=qc8 isa=simd128,relaxed
#include "rows_wasm_qc8.h"

ES_INLINE void rows(
    const uint8_t *w, const float *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, const int32_t *sum, float *y, int64_t pitch, int64_t begin, int64_t end, way how,
    const int words) {
  if (!index) {
#pragma clang loop unroll(disable)
    for (int64_t o = begin; o < end; o++) {
      const uint8_t *row = w + o * pitch;
      float one;
      some_rows(&row, q, scale, sum, pitch, &one, how, words, 1);
      y[o] = one * wscale[o] + (bias ? bias[o] : 0);
    }
    return;
  }
  for (int64_t j = begin; j < end; j += SIDE) {
    const uint8_t *row[SIDE];
    float some[SIDE];
    for (int64_t r = 0; r < SIDE; r++) {  // the last one again where there are fewer
      const int64_t here = j + r < end ? j + r : end - 1;
      row[r] = w + index[here] * pitch;
    }
    some_rows(row, q, scale, sum, pitch, some, how, words, SIDE);
#pragma clang loop unroll(disable)
    for (int64_t r = 0; r < SIDE && j + r < end; r++) {
      const int64_t o = index[j + r];
      y[o] = some[r] * wscale[o] + (bias ? bias[o] : 0);
    }
  }
}

// As in kernels_common/rows_one_qc8.h.
void ES_KERNEL(rows_qc8)(
    const uint8_t *w, const float *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t begin, int64_t end) {
  const int64_t pitch = (inputs + ENTRIES - 1) / ENTRIES * ENTRIES;
  const way how = es_way();
  if (how == IN_WORDS) rows(w, wscale, bias, index, q, scale, sum, y, pitch, begin, end, how, 1);
  else rows(w, wscale, bias, index, q, scale, sum, y, pitch, begin, end, how, 0);
}
