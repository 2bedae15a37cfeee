// y[o, i, n] = x[o, index[i], n]; negative indices count from the end, what is still outside is clamped, so that
// no input makes it read outside of x. The including file defines T, an element.
#include "es.h"

ES_INLINE int64_t gather_at(const uint8_t *index, int64_t index_bytes, int64_t i, int64_t size) {
  int64_t at = index_bytes == 8 ? ((const int64_t *)index)[i] : ((const int32_t *)index)[i];
  if (at < 0) at += size;
  return at < 0 ? 0 : at >= size ? size - 1 : at;
}

// Rows begin..end-1 of y, outer * count in all.
ES_INLINE void gather(const T *x, const uint8_t *index, T *y, int64_t begin, int64_t end, int64_t size, int64_t count,
                      int64_t inner, int64_t index_bytes) {
  for (int64_t row = begin; row < end; row++) {
    const T *from = x + (row / count * size + gather_at(index, index_bytes, row % count, size)) * inner;
    for (int64_t n = 0; n < inner; n++) y[row * inner + n] = from[n];
  }
}
