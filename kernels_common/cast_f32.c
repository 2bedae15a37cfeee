// edgesparse-kernel: op=cast dtype=f32 isa=any
#define T float
#define VALUE(x) (x)
#define WHOLE(type, v, low, high, min, max) (v >= high ? max : v <= low ? min : v == v ? (type)v : 0)
#include "cast.h"

// y[i] = x[i] as the type numbered `to`: cut towards zero, the nearest number where that does not fit, 0 for NaN;
// true for all but 0 where `to` is bool. x, y: (size), apart.
void ES_KERNEL(cast_f32)(const float *x, void *y, int64_t size, int64_t to) { cast(x, y, size, to); }
