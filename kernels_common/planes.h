// Copies one plane with its border, cut into phases, so that a strided convolution reads
// neighbouring floats: out[r, q] = in[r * stride_y + phase_y - top, q * stride_x + phase_x - left],
// zero outside of the plane.
#ifndef ES_PLANES_H
#define ES_PLANES_H
#include "es.h"

ES_INLINE void es_plane(const float *in, float *out, int64_t height, int64_t width, int64_t rows, int64_t pitch,
                        int64_t stride_y, int64_t stride_x, int64_t dy, int64_t dx) {
  // dy, dx: the input row and column of out[0, 0]; may be negative.
  int64_t q0 = dx < 0 ? (-dx + stride_x - 1) / stride_x : 0;
  int64_t q1 = width - dx > 0 ? (width - dx + stride_x - 1) / stride_x : 0;
  if (q1 > pitch) q1 = pitch;
  if (q0 > q1) q0 = q1;
  for (int64_t r = 0; r < rows; r++, out += pitch) {
    int64_t y = r * stride_y + dy, q = 0;
    if (y < 0 || y >= height) {
      for (; q < pitch; q++) out[q] = 0;
      continue;
    }
    const float *row = in + y * width + dx;
    for (; q < q0; q++) out[q] = 0;
    if (stride_x == 1) {
      for (; q + ES_VL <= q1; q += ES_VL) store_vf(out + q, load_vf(row + q));
      for (; q < q1; q++) out[q] = row[q];
    } else if (stride_x == 2) {
      const int64_t end = (width - dx) / 2 < q1 ? (width - dx) / 2 : q1;  // all that is loaded must lie in the row
      for (; q + 8 <= end; q += 8) {
        const vf4 a = load4(row + 2 * q), b = load4(row + 2 * q + 4), c = load4(row + 2 * q + 8), d = load4(row + 2 * q + 12);
        store4(out + q, __builtin_shufflevector(a, b, 0, 2, 4, 6));
        store4(out + q + 4, __builtin_shufflevector(c, d, 0, 2, 4, 6));
      }
      for (; q + 4 <= end; q += 4) {
        const vf4 a = load4(row + 2 * q), b = load4(row + 2 * q + 4);
        store4(out + q, __builtin_shufflevector(a, b, 0, 2, 4, 6));
      }
      for (; q < q1; q++) out[q] = row[2 * q];
    } else {
      for (; q < q1; q++) out[q] = row[stride_x * q];
    }
    for (; q < pitch; q++) out[q] = 0;
  }
}
#endif
