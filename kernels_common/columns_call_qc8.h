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
  (void)sum, (void)inputs;
  const span s = find_span(outputs, tile, begin, end);
  const int64_t pitch = row_bytes(outputs);
  const int64_t parts = s.own > 0 ? (s.own + MOST - 1) / MOST : 1, most = ((s.own + parts - 1) / parts + 63) / 64 * 64;
  for (int64_t from = s.from; from < s.from + s.own; from += most) {
    const int64_t left = s.from + s.own - from, own = left < most ? left : most;
    columns_span(w + from, wscale + from, bias ? bias + from : 0, index, q, scale, y + from, count, own, pitch);
  }
}
#endif
