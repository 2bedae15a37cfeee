// y[o, k] = join of x[o, i, k] over i, for whole numbers; sums and products wrap. The including file defines T,
// U (T without sign), LOWEST and HIGHEST.
#include "es.h"

enum { SUM = 0, MAX = 1, MIN = 2, PROD = 3, SUM_SQUARE = 4, L1 = 5 };  // as in ops/reduce.py

#define EACH(kind_, none, joined)                                          \
  case kind_:                                                              \
    for (int64_t o = 0; o < outer; o++, x += x_outer, y += inner) {        \
      if (inner == 1) {                                                    \
        T a = none;                                                        \
        for (int64_t i = 0; i < n; i++) {                                  \
          T v = x[i];                                                      \
          a = (T)(joined);                                                 \
        }                                                                  \
        *y = a;                                                            \
        continue;                                                          \
      }                                                                    \
      for (int64_t k = 0; k < inner; k++) y[k] = none;                     \
      for (int64_t i = 0; i < n; i++)                                      \
        for (int64_t k = 0; k < inner; k++) {                              \
          T a = y[k], v = x[i * inner + k];                                \
          y[k] = (T)(joined);                                              \
        }                                                                  \
    }                                                                      \
    break;

ES_INLINE void reduce(const T *x, T *y, int64_t outer, int64_t n, int64_t inner, int64_t x_outer, int64_t kind,
                      int64_t divisor) {
  T *first = y;
  switch (kind) {
    EACH(SUM, 0, (U)a + (U)v)
    EACH(MAX, LOWEST, a > v ? a : v)
    EACH(MIN, HIGHEST, a < v ? a : v)
    EACH(PROD, 1, (U)a * (U)v)
    EACH(SUM_SQUARE, 0, (U)a + (U)v * (U)v)
    EACH(L1, 0, (U)a + (v < 0 ? 0 - (U)v : (U)v))
  }
  if (divisor > 1)
    for (int64_t i = 0; i < outer * inner; i++) first[i] = (T)(first[i] / divisor);
}
