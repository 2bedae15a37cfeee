// Where weights of 8 bits by input lie, and in which order their sums are. BYTES is defined: bytes of a vector.
//
// Tiles of up to NARROW outputs lie one behind the other, each (inputs, width), the last as wide as what is left,
// rounded up to 16: with all inputs, weights are one stream. Wider tiles, of multiples of 64, lie side by side,
// (inputs, outputs rounded up to 64): what is read of an input is as long as it can be, also where a
// thread has some of them.
#ifndef ES_COLUMNS_PLACE_QC8_H
#define ES_COLUMNS_PLACE_QC8_H

enum { NARROW = 64, PIECE = 16 };

// Outputs from..from+own-1; the weights of input i are w + at + i * pitch.
typedef struct { int64_t from, own, at, pitch; } span;

// Those of tiles begin..end-1, of narrow ones a single one.
ES_INLINE span find_span(int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  const int64_t from = begin * tile, to = end * tile < outputs ? end * tile : outputs, own = to - from;
  if (tile > NARROW) return (span){from, own, from, (outputs + 63) / 64 * 64};
  return (span){from, own, from * inputs, (own + PIECE - 1) / PIECE * PIECE};
}

// From the order of lanes, where vector i holds outputs 4i..4i+3 of every 16, to that of outputs. y may be `from` or
// bias.
ES_INLINE void finish(float *y, const float *from, const float *wscale, const float *bias) {
  float sum[BYTES];
  for (int o = 0; o < BYTES; o++) sum[o] = from[o];
  for (int o = 0; o < BYTES; o++)
    y[o] = sum[o % 16 / 4 * (BYTES / 4) + o / 16 * 4 + o % 4] * wscale[o] + (bias ? bias[o] : 0);
}
#endif
