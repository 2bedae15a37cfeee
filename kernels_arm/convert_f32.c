// edgesparse-kernel: op=convert dtype=f32 isa=neon
#include "half.h"

// y[i] = x[i], rounded to the nearest half; x, y: (size), apart. Spans begin..end-1 are computed.
void ES_KERNEL(convert_f32)(const float *x, _Float16 *y, int64_t begin, int64_t end, int64_t size) {
  const int64_t last = end * ES_SPAN < size ? end * ES_SPAN : size;
  int64_t i = begin * ES_SPAN;
  for (; i + 8 <= last; i += 8) store_half8(y + i, narrow8(load8(x + i)));
  for (; i < last; i++) y[i] = (_Float16)x[i];
}
