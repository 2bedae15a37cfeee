// edgesparse-kernel: op=convert dtype=f16 isa=neon
#include "half.h"

// y[i] = x[i], exactly; x, y: (size), apart. Spans begin..end-1 are computed.
void ES_KERNEL(convert_f16)(const _Float16 *x, float *y, int64_t begin, int64_t end, int64_t size) {
  const int64_t last = end * ES_SPAN < size ? end * ES_SPAN : size;
  int64_t i = begin * ES_SPAN;
  for (; i + 8 <= last; i += 8) store8(y + i, widen8(load_half8(x + i)));
  for (; i < last; i++) y[i] = (float)x[i];
}
