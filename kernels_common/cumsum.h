// Running sums. The including file defines T, and A, in which they are added up.
#include "es.h"

ES_INLINE void cumsum(const T *x, T *y, int64_t outer, int64_t n, int64_t inner, int64_t exclusive, int64_t reverse) {
  for (int64_t o = 0; o < outer; o++)
    for (int64_t k = 0; k < inner; k++) {
      A sum = 0;
      for (int64_t i = 0; i < n; i++) {
        int64_t at = (o * n + (reverse ? n - 1 - i : i)) * inner + k;
        A before = sum;
        sum += (A)x[at];
        y[at] = (T)(exclusive ? before : sum);
      }
    }
}
