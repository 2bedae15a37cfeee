// edgesparse-kernel: op=activation dtype=f16 isa=neon
#include "half.h"

// y[i] = activation `act` of x[i]; x and y: (size), y may be x. Spans begin..end-1 are computed.
void ES_KERNEL(activation_f16)(const _Float16 *x, _Float16 *y, int64_t begin, int64_t end, int64_t size, int64_t act,
                               float lo, float hi) {
  const int64_t first = begin * ES_SPAN, last = end * ES_SPAN < size ? end * ES_SPAN : size;
  act_halves(x + first, y + first, last - first, act, lo, hi);
}
