// edgesparse-kernel: op=planes dtype=f32 isa=any
#include "planes.h"

// y[image, c, f, r, q] = x[image, c, r * stride_y + dy[f], q * stride_x + dx[f]], zero outside of x.
// x: (images * channels, height, width), planes x_plane apart; y: (images * channels, phases, rows, pitch), then `slack`
// zeros, because a convolution over rows laid end to end reads past the last one.
// Planes begin..end-1 of y are copied, channels * phases in all; with the last one, the slack is cleared.
void ES_KERNEL(planes_f32)(const float *x, float *y, int64_t begin, int64_t end, int64_t channels, int64_t height,
                           int64_t width, int64_t x_plane, int64_t rows, int64_t pitch, int64_t stride_y, int64_t stride_x,
                           int64_t phases, const int64_t *dy, const int64_t *dx, int64_t slack) {
  for (int64_t i = begin; i < end; i++) {
    const int64_t c = i / phases, f = i % phases;
    es_plane(x + c * x_plane, y + i * rows * pitch, height, width, rows, pitch, stride_y, stride_x, dy[f], dx[f]);
  }
  if (end == channels * phases)
    for (int64_t i = 0; i < slack; i++) y[end * rows * pitch + i] = 0;
}
