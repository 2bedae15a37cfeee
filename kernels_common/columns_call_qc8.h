// columns_qc8, called. Included behind columns_place_qc8.h, MOST and columns_span, which computes up to MOST outputs.
#ifndef ES_COLUMNS_CALL_QC8_H
#define ES_COLUMNS_CALL_QC8_H

// y[o] = bias[o] + wscale[o] sum_g scale[g] sum_j w[o, index[j]] q[j] over the entries j of group g, 32 each, `count`
// in all; without index, entry j is input j. w: bytes -127..127, on x86 with 128 added, see columns_place_qc8.h. q:
// (count rounded up to 32), zeros at its end; scale, sum: as quantise_f32 gives them; wscale, bias (may be null), y:
// (outputs,), and may be the bias. Tiles begin..end-1 are computed, ceil(outputs / tile) in all.
void ES_KERNEL(columns_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                            const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t count,
                            int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  (void)sum;
  const int64_t step = tile > NARROW ? end - begin : 1;  // tiles that lie side by side
  for (int64_t t = begin; t < end; t += step) {
    const span s = find_span(inputs, outputs, tile, t, t + step);
    const int64_t parts = (s.own + MOST - 1) / MOST, most = ((s.own + parts - 1) / parts + 63) / 64 * 64;
    for (int64_t o = 0; o < s.own; o += most) {
      const int64_t from = s.from + o, own = s.own - o < most ? s.own - o : most;
      columns_span(w + s.at + o, wscale + from, bias ? bias + from : 0, index, q, scale, y + from, count, own, s.pitch);
    }
  }
}
#endif
