// edgesparse-kernel: op=unary dtype=i32 isa=any
#define T int32_t
#define U uint32_t
#include "unary.h"

// y[i] = kind(x[i]), kind one of Abs, Neg and Sign; x and y: (size), y may be x. a and b are not used.
void ES_KERNEL(unary_i32)(const int32_t *x, int32_t *y, int64_t size, int64_t kind, float a, float b) {
  (void)a, (void)b;
  unary(x, y, size, kind);
}
