// edgesparse-kernel: op=unary dtype=i64 isa=any
#define T int64_t
#define U uint64_t
#include "unary.h"

// y[i] = kind(x[i]), kind one of Abs, Neg and Sign; x and y: (size), y may be x. a and b are not used.
void ES_KERNEL(unary_i64)(const int64_t *x, int64_t *y, int64_t size, int64_t kind, float a, float b) {
  (void)a, (void)b;
  unary(x, y, size, kind);
}
