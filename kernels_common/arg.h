// y[o, k] = the index i of the largest or smallest x[o, i, k]; a NaN is beyond everything.
// The including file defines T and IS_NAN(v).
#include "es.h"

// `width` columns at a time, so that the compiler can compare them side by side.
ES_INLINE void arg_columns(const T *x, int64_t *y, int64_t n, int64_t inner, const int width, int least, int last) {
  T best[32];
  int32_t at[32];
  for (int j = 0; j < width; j++) best[j] = x[j], at[j] = 0;
  for (int64_t i = 1; i < n; i++)
    for (int j = 0; j < width; j++) {
      T v = x[i * inner + j], b = best[j];
      int beyond = ((v > b) & !least) | ((v < b) & least) | ((v == b) & last) | IS_NAN(v);
      int take = beyond & (!IS_NAN(b) | (IS_NAN(v) & last));
      best[j] = take ? v : b;
      at[j] = take ? (int32_t)i : at[j];
    }
  for (int j = 0; j < width; j++) y[j] = at[j];
}

ES_INLINE void arg(const T *x, int64_t *y, int64_t outer, int64_t n, int64_t inner, int least, int last) {
  for (int64_t o = 0; o < outer; o++, x += n * inner, y += inner) {
    int64_t k = 0;
    for (; k + 32 <= inner; k += 32) arg_columns(x + k, y + k, n, inner, 32, least, last);
    for (; k < inner; k++) arg_columns(x + k, y + k, n, inner, 1, least, last);
  }
}
