// edgesparse-kernel: op=transpose dtype=b4 isa=any
#include "es.h"

// y[i0..i4] = x[i . stride] for elements of 4 bytes; dims and stride: 5 each, outermost first.
// y: (dims) contiguous; x and y do not overlap.
void ES_KERNEL(transpose_b4)(const uint32_t *x, uint32_t *y, const int64_t *dims, const int64_t *stride) {
  for (int64_t i = 0; i < dims[0]; i++)
    for (int64_t j = 0; j < dims[1]; j++)
      for (int64_t k = 0; k < dims[2]; k++)
        for (int64_t l = 0; l < dims[3]; l++) {
          const uint32_t *p = x + i * stride[0] + j * stride[1] + k * stride[2] + l * stride[3];
          for (int64_t m = 0; m < dims[4]; m++) *y++ = p[m * stride[4]];
        }
}
