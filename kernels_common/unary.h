// y[i] = kind(x[i]) for whole numbers. The including file defines T (the element) and U (T without sign).
#include "es.h"

enum { ABS = 0, NEG = 1, SIGN = 2 };  // the numbers of edgesparse/ops/unary.py

// The negative of the smallest number wraps to itself.
ES_INLINE void unary(const T *x, T *y, int64_t size, int64_t kind) {
  switch (kind) {
    case ABS: for (int64_t i = 0; i < size; i++) y[i] = x[i] < 0 ? (T)(0 - (U)x[i]) : x[i]; break;
    case NEG: for (int64_t i = 0; i < size; i++) y[i] = (T)(0 - (U)x[i]); break;
    default: for (int64_t i = 0; i < size; i++) y[i] = (x[i] > 0) - (x[i] < 0); break;
  }
}
