// edgesparse-kernel: op=fill dtype=b1 isa=any
#define T uint8_t
#include "fill.h"

// y[i] = value, the bits of an element of 1 bytes; y: (size).
void ES_KERNEL(fill_b1)(uint8_t *y, int64_t size, int64_t value) { fill(y, size, value); }
