// edgesparse-kernel: op=cast dtype=i64 isa=any
#define T int64_t
#define VALUE(x) (x)
#define WHOLE(type, v, low, high, min, max) (v)
#include "cast.h"

// y[i] = x[i] as the type numbered `to`: the low bits where it is narrower; x, y: (size), apart.
void ES_KERNEL(cast_i64)(const int64_t *x, void *y, int64_t size, int64_t to) { cast(x, y, size, to); }
