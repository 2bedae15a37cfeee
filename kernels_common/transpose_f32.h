// Squares of floats, transposed on their way from memory to registers: v[i][k] = from[k * pitch + i] for i and k below
// ES_TURN, which is 8 where vectors have 8 lanes or more, 4 where they have 4, else 1.
#ifndef ES_TRANSPOSE_F32_H
#define ES_TRANSPOSE_F32_H
#include "math_f32.h"

#if ES_VL >= 8
#define ES_TURN 8
#elif ES_VL == 4
#define ES_TURN 4
#else
#define ES_TURN 1
#endif
typedef ES_CAT(vf, ES_TURN, ) es_turn;
#define es_turn_store ES_CAT(store, ES_TURN, )
#define es_turn_clamp ES_CAT(es_clamp, ES_TURN, )

#if ES_TURN == 8
// v[0..3]: four rows of either half become four columns. Halves are put together as they are loaded: shuffles across
// them would be half of all.
ES_INLINE void es_turned(const float *from, int64_t pitch, vf8 *v) {
#pragma unroll
  for (int k = 0; k < 8; k += 4, from += 4) {
    vf8 row[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const vf4 low = load4(from + i * pitch), high = load4(from + (i + 4) * pitch);
      row[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    const vf8 a = __builtin_shufflevector(row[0], row[1], 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 b = __builtin_shufflevector(row[0], row[1], 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 c = __builtin_shufflevector(row[2], row[3], 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 d = __builtin_shufflevector(row[2], row[3], 2, 10, 3, 11, 6, 14, 7, 15);
    v[k] = __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
    v[k + 1] = __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
    v[k + 2] = __builtin_shufflevector(b, d, 0, 1, 8, 9, 4, 5, 12, 13);
    v[k + 3] = __builtin_shufflevector(b, d, 2, 3, 10, 11, 6, 7, 14, 15);
  }
}
#elif ES_TURN == 4
ES_INLINE void es_turned(const float *from, int64_t pitch, vf4 *v) {
  const vf4 row0 = load4(from), row1 = load4(from + pitch), row2 = load4(from + 2 * pitch), row3 = load4(from + 3 * pitch);
  const vf4 a = __builtin_shufflevector(row0, row1, 0, 4, 1, 5), b = __builtin_shufflevector(row0, row1, 2, 6, 3, 7);
  const vf4 c = __builtin_shufflevector(row2, row3, 0, 4, 1, 5), d = __builtin_shufflevector(row2, row3, 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
#else
ES_INLINE void es_turned(const float *from, int64_t pitch, vf1 *v) {
  (void)pitch;
  v[0] = load1(from);
}
#endif
#endif
