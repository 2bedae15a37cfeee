// Where weights of 8 bits by input lie, and in which order their sums are. BYTES is defined: bytes of a vector.
#ifndef ES_COLUMNS_PLACE_QC8_H
#define ES_COLUMNS_PLACE_QC8_H

enum { PIECE = 16 };

// The weights of an input are neighbours, so many bytes apart from the next one's: the outputs rounded up to 64, and 64
// more where rows would lie in the same lines of the first cache, of which it keeps 8: 12288 outputs were read 12% faster
// so, 4096 3% (Zen 4, half of the rows). Tiles, which threads share, are multiples of 64 outputs.
ES_INLINE int64_t row_bytes(int64_t outputs) {
  const int64_t bytes = (outputs + 63) / 64 * 64;
  return bytes % 4096 ? bytes : bytes + 64;
}

// Outputs of tiles begin..end-1.
typedef struct { int64_t from, own; } span;
ES_INLINE span find_span(int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  const int64_t from = begin * tile, to = end * tile < outputs ? end * tile : outputs;
  return (span){from, to - from};
}

// From the order of lanes, where vector i holds outputs 4i..4i+3 of every 16, to that of outputs. y may be `from` or
// bias.
ES_INLINE void finish(float *y, const float *from, const float *wscale, const float *bias) {
  vf4 sum[BYTES / 4];
#pragma unroll
  for (int i = 0; i < BYTES / 4; i++) sum[i] = load4(from + 4 * i);
#pragma unroll
  for (int i = 0; i < BYTES / 4; i++) {
    const vf4 v = sum[i % 4 * (BYTES / 16) + i / 4] * load4(wscale + 4 * i);
    store4(y + 4 * i, bias ? v + load4(bias + 4 * i) : v);
  }
}
#endif
