// What all kernels of spmm but one do around spmm_row, which computes one row of pixels. Included behind it, by spmm.h
// and kernels_wasm/spmm_wasm_f32.h.

// Output channels whose planes are in `means` at a time, where only their means are wanted: several blocks, so that
// tiles need not be entered for each of them, and few enough for L1.
enum { ES_MEANS = 32 };  // as in ops/conv.py

// x: planes of activations; residual (may be null) and y: (images, channels, plane), planes residual_plane and
// y_plane apart. The first `spare` floats behind each plane of y, x and residual may be computed, too: with whole
// vectors to the end nothing is computed twice. What is left of the padding of y is set to zero.
// start: (blocks + 1), where a block's kept entries begin; offset: byte offsets, one per entry;
// w: (entries, MR); bias and slope (may be null): (blocks * MR).
// means (may be null): room for ES_MEANS planes, y_plane apart, whole vectors and one more. Where it is given, y is
// (images, channels): the mean of what would have been each plane.
// Blocks begin..end-1 are computed. Each image has `rows` rows of `columns` pixels, x_row floats
// apart. When pitch > valid the pixels of a row are those of several output rows, laid `pitch`
// apart, of which the first `valid` are kept. y must not overlap x or residual.
ES_INLINE void spmm_images(const es_spmm *all, const ES_T *x, ES_T *means, int64_t begin, int64_t end, int64_t images,
                           int64_t x_image, int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid,
                           int64_t plane, int64_t spare) {
  es_spmm s = *all;
  const int64_t whole = (columns + ES_VL - 1) / ES_VL * ES_VL, step = means ? ES_MEANS / MR : end - begin;
  s.clamped = es_act_bounds(s.act, &s.lo, &s.hi);
  s.clamps = s.clamped && !s.residual;
#ifdef ES_FAR_BYTES
  s.far = !means && s.channels * s.y_plane * (int64_t)sizeof(ES_T) > ES_FAR_BYTES;
#endif
#if ES_PIXELS
  if (spmm_pixels(&s, columns, pitch, valid)) spare = 0;
#endif
  const int64_t written = whole - columns <= spare ? plane + whole - columns : plane;
  if (written > plane) columns = whole;
  for (int64_t image = 0; image < images; image++)
    for (int64_t b = begin; b < end; b += step) {
      const int64_t first = image * all->channels + b * MR;
      s.blocks = end - b < step ? end - b : step;
      s.channels = all->channels - b * MR < s.blocks * MR ? all->channels - b * MR : s.blocks * MR;
      s.start = all->start + b, s.bias = all->bias + b * MR;
      s.slope = all->slope ? all->slope + b * MR : 0;
      s.residual = all->residual ? all->residual + first * s.residual_plane : 0;
      s.y = means ? means : all->y + first * s.y_plane;
      for (int64_t r = 0; r < rows; r++)
        spmm_row(&s, x + image * x_image + r * x_row, r * columns, columns, pitch, valid);
      for (int64_t c = 0; c < s.channels; c++) {
        ES_T *y = s.y + c * s.y_plane;
        if (means) all->y[first + c] = ES_MEAN(y, plane);
        else ES_ZERO(y + written, s.y_plane - written);
      }
    }
}
