// edgesparse-kernel: op=assign dtype=u8 isa=any
#include "es.h"

// y = x, `bytes` bytes; x and y do not overlap. For an output that is also an input or a constant.
void ES_KERNEL(assign_u8)(const uint8_t *x, uint8_t *y, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i++) y[i] = x[i];
}
