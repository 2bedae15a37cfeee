// edgesparse-kernel: op=fill dtype=b2 isa=any
#define T uint16_t
#include "fill.h"

// y[i] = value, the bits of an element of 2 bytes; y: (size).
void ES_KERNEL(fill_b2)(uint16_t *y, int64_t size, int64_t value) { fill(y, size, value); }
