// edgesparse-kernel: op=gather dtype=b1 isa=any
#define T uint8_t
#include "gather.h"

// y[o, i, n] = x[o, index[i], n] for elements of 1 bytes; x: (outer, size, inner), y: (outer, count, inner),
// index: (count) integers of index_bytes. y does not overlap x. Rows begin..end-1 are written, outer * count in all.
void ES_KERNEL(gather_b1)(const uint8_t *x, const uint8_t *index, uint8_t *y, int64_t begin, int64_t end,
                          int64_t size, int64_t count, int64_t inner, int64_t index_bytes) {
  gather(x, index, y, begin, end, size, count, inner, index_bytes);
}
