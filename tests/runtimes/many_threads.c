// The pool of a machine with 64 CPUs: it may start more threads than there are CPUs here. Tests only.
#include "sys.h"
#define sys_cpu_count() 64
#include "pool.c"

// How parts.h divides, for the tests of it.
__attribute__((visibility("default"))) int64_t evenly(int64_t count, int part, int parts, int64_t *begin) {
  es_range r;
  es_evenly(&r, count, part, parts);
  *begin = r.begin;
  return r.end;
}

__attribute__((visibility("default"))) int64_t by_weights(const int32_t *start, int64_t blocks, int part, int parts,
                                                          int64_t *begin) {
  es_range r;
  es_by_weights(&r, start, blocks, part, parts);
  *begin = r.begin;
  return r.end;
}

__attribute__((visibility("default"))) int block_cost(void) { return ES_BLOCK_COST; }
