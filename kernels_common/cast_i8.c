// edgesparse-kernel: op=cast dtype=i8 isa=any
#define T int8_t
#define VALUE(x) (x)
#define WHOLE(type, v, low, high, min, max) (v)
#include "cast.h"

// y[i] = x[i] as the type numbered `to`: the low bits where it is narrower; x, y: (size), apart.
void ES_KERNEL(cast_i8)(const int8_t *x, void *y, int64_t size, int64_t to) { cast(x, y, size, to); }
