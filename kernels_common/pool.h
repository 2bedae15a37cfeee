// A row of windows, ES_VL of them at a time where all lie inside the row; the windows at its ends one by one.
#ifndef ES_POOL_H
#define ES_POOL_H
#include "math_f32.h"

#define ES_EVEN1 0
#define ES_EVEN4 0, 2, 4, 6
#define ES_EVEN8 ES_EVEN4, 8, 10, 12, 14
#define ES_EVEN16 ES_EVEN8, 16, 18, 20, 22, 24, 26, 28, 30

// Numbers in memory, which may be others than floats: the including file then defines these.
#ifndef ES_POOL_T
#define ES_POOL_T float
#define ES_POOL_LOAD load_vf
#define ES_POOL_STORE store_vf
#endif

// x[0], x[stride], .., x[(ES_VL - 1) * stride] for a stride of 1 or 2, which reads x[stride * ES_VL - 1], too.
ES_INLINE vf es_pool_load(const ES_POOL_T *x, int64_t stride) {
  if (stride == 1) return ES_POOL_LOAD(x);
  return __builtin_shufflevector(ES_POOL_LOAD(x), ES_POOL_LOAD(x + ES_VL), ES_CAT(ES_EVEN, ES_VL, ));
}

// What lies behind a plane.
ES_INLINE void es_pool_zero(ES_POOL_T *p, int64_t count) {
  for (int64_t i = 0; i < count; i++) p[i] = 0;
}

// Windows first..first+count-1 of a row can be computed as vectors, count is 0 or at least ES_VL.
typedef struct {
  int64_t first, count;
} es_pool_inner;

ES_INLINE es_pool_inner es_pool_inside(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t begin,
                                       int64_t out) {
  es_pool_inner inner = {(begin + stride - 1) / stride, 0};
  // the last window of a vector at q begins at (q + ES_VL - 1) * stride - begin
  const int64_t room = size - (kernel - 1) * dilation - stride * ES_VL + begin;
  if (stride > 2 || room < 0) return inner;
  int64_t last = room / stride + ES_VL;
  if (last > out) last = out;
  if (last - inner.first >= ES_VL) inner.count = last - inner.first;
  return inner;
}
#endif
