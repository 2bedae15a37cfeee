// edgesparse-kernel: op=planes dtype=f16 isa=neon
#include "half.h"

// One plane with its border, or one phase of it, as es_plane in planes.h.
ES_INLINE void plane_of_halves(const _Float16 *in, _Float16 *out, int64_t height, int64_t width, int64_t rows,
                               int64_t pitch, int64_t stride_y, int64_t stride_x, int64_t dy, int64_t dx) {
  int64_t q0 = dx < 0 ? (-dx + stride_x - 1) / stride_x : 0;
  int64_t q1 = width - dx > 0 ? (width - dx + stride_x - 1) / stride_x : 0;
  if (q1 > pitch) q1 = pitch;
  if (q0 > q1) q0 = q1;
  for (int64_t r = 0; r < rows; r++, out += pitch) {
    int64_t y = r * stride_y + dy, q = q0;
    if (y < 0 || y >= height) {
      zero_halves(out, pitch);
      continue;
    }
    const _Float16 *row = in + y * width + dx;
    zero_halves(out, q0);
    if (stride_x == 1) {
      for (; q + 8 <= q1; q += 8) store_half8(out + q, load_half8(row + q));
    } else if (stride_x == 2) {
      const int64_t end = (width - dx) / 2 < q1 ? (width - dx) / 2 : q1;  // all that is loaded must lie in the row
      for (; q + 8 <= end; q += 8) {
        const hf8 a = load_half8(row + 2 * q), b = load_half8(row + 2 * q + 8);
        store_half8(out + q, __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14));
      }
    }
    for (; q < q1; q++) out[q] = row[stride_x * q];
    zero_halves(out + q1, pitch - q1);
  }
}

// y[image, c, f, r, q] = x[image, c, r * stride_y + dy[f], q * stride_x + dx[f]], zero outside of x; as planes_f32.
void ES_KERNEL(planes_f16)(const _Float16 *x, _Float16 *y, int64_t begin, int64_t end, int64_t channels, int64_t height,
                           int64_t width, int64_t x_plane, int64_t rows, int64_t pitch, int64_t stride_y,
                           int64_t stride_x, int64_t phases, const int64_t *dy, const int64_t *dx, int64_t slack) {
  for (int64_t i = begin; i < end; i++) {
    const int64_t c = i / phases, f = i % phases;
    _Float16 *out = y + i * rows * pitch;
    plane_of_halves(x + c * x_plane, out, height, width, rows, pitch, stride_y, stride_x, dy[f], dx[f]);
  }
  if (end == channels * phases) zero_halves(y + end * rows * pitch, slack);
}
