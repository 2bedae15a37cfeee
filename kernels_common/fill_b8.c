// edgesparse-kernel: op=fill dtype=b8 isa=any
#define T uint64_t
#include "fill.h"

// y[i] = value, the bits of an element of 8 bytes; y: (size).
void ES_KERNEL(fill_b8)(uint64_t *y, int64_t size, int64_t value) { fill(y, size, value); }
