// edgesparse-kernel: op=copy dtype=b2 isa=any
#define T uint16_t
#include "copy.h"

// y[y_offset + i . y_stride] = x[x_offset + i . x_stride] for elements of 2 bytes; dims and strides: 6 each.
// y does not overlap x; elements of y that no i reaches are left alone.
// Items begin..end-1 are copied, see copy.h.
void ES_KERNEL(copy_b2)(const uint16_t *x, uint16_t *y, int64_t begin, int64_t end, int64_t x_offset,
                        int64_t y_offset, const int64_t *dims, const int64_t *x_stride, const int64_t *y_stride) {
  copy(x, y, begin, end, x_offset, y_offset, dims, x_stride, y_stride);
}
