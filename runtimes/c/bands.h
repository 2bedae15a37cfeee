// Layers that are computed a few rows at a time, in turns, so that what is between them stays in the cache: what each
// of them does in one round. See edgesparse/bands.py and types.Band, which has the same fields.
#ifndef ES_BANDS_H
#define ES_BANDS_H
#include <stdint.h>

typedef struct {
  int32_t x_row, height, top;         // rows x_row.. of the input's buffer, `height` of them, zeros above `top` more
  int32_t first, y_row, rows;         // of the whole output; where they go in the output's buffer; how many
  int32_t kept_from, kept;            // rows of that buffer that move to its front before
} es_band;

// Moves the rows that are kept to the front of planes begin..end-1 of `planes`, which lie `pitch` floats apart. Whoever
// writes a plane does so just before: nobody reads it then.
static inline void es_keep(const es_band *band, float *y, int64_t begin, int64_t end, int64_t planes, int64_t pitch,
                           int64_t columns) {
  typedef float four __attribute__((vector_size(16), aligned(4)));
  const int64_t count = band->kept * columns, from = band->kept_from * columns;
  for (int64_t plane = begin; plane < end && plane < planes; plane++) {
    float *to = y + plane * pitch;
    int64_t i = 0;
    for (; i + 4 <= count && from >= 4; i += 4) *(four *)(to + i) = *(const four *)(to + from + i);
    for (; i < count; i++) to[i] = to[from + i];
  }
}
#endif
