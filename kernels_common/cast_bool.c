// edgesparse-kernel: op=cast dtype=bool isa=any
#define T uint8_t
#define VALUE(x) ((x) != 0)
#define WHOLE(type, v, low, high, min, max) (v)
#include "cast.h"

// y[i] = 0 or 1 as the type numbered `to`; x, y: (size), apart.
void ES_KERNEL(cast_bool)(const uint8_t *x, void *y, int64_t size, int64_t to) { cast(x, y, size, to); }
