// edgesparse-kernel: op=fill dtype=b4 isa=any
#define T uint32_t
#include "fill.h"

// y[i] = value, the bits of an element of 4 bytes; y: (size).
void ES_KERNEL(fill_b4)(uint32_t *y, int64_t size, int64_t value) { fill(y, size, value); }
