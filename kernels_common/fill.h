// The including file defines T, an element.
#include "es.h"

ES_INLINE void fill(T *y, int64_t size, int64_t value) {
  for (int64_t i = 0; i < size; i++) y[i] = (T)value;
}
