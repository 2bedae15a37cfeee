// edgesparse-kernel: op=not dtype=bool isa=any
#include "es.h"

// y[i] = 1 where x[i] is 0, else 0; x and y: (size), y may be x.
void ES_KERNEL(not_bool)(const uint8_t *x, uint8_t *y, int64_t size) {
  for (int64_t i = 0; i < size; i++) y[i] = x[i] == 0;
}
