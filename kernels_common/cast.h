// y[i] = x[i] as another type. The including file defines T, the element, and VALUE(x), what its bits mean;
// and WHOLE(type, v, low, high, min, max), the conversion to whole numbers (low and high matter to floats only).
#include "es.h"

enum { TO_F32 = 0, TO_I64 = 1, TO_I32 = 2, TO_I8 = 3, TO_U8 = 4, TO_BOOL = 5 };  // as in edgesparse/ops/cast.py

#define CAST(kind_, type, f)                                               \
  case kind_: {                                                            \
    type *out = (type *)y;                                                 \
    for (int64_t i = 0; i < size; i++) {                                   \
      T v = VALUE(x[i]);                                                   \
      out[i] = (type)(f);                                                  \
    }                                                                      \
    break;                                                                 \
  }

ES_INLINE void cast(const T *x, void *y, int64_t size, int64_t to) {
  switch (to) {
    CAST(TO_F32, float, v)
    CAST(TO_I64, int64_t, WHOLE(int64_t, v, -9223372036854775808.0f, 9223372036854775808.0f, INT64_MIN, INT64_MAX))
    CAST(TO_I32, int32_t, WHOLE(int32_t, v, -2147483648.0f, 2147483648.0f, INT32_MIN, INT32_MAX))
    CAST(TO_I8, int8_t, WHOLE(int8_t, v, -129.0f, 128.0f, INT8_MIN, INT8_MAX))
    CAST(TO_U8, uint8_t, WHOLE(uint8_t, v, -1.0f, 256.0f, 0, UINT8_MAX))
    CAST(TO_BOOL, uint8_t, v != 0)
  }
}
