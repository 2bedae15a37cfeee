// edgesparse-kernel: op=rows dtype=f32 isa=any
#include "es.h"
#define T float
#define LOAD load_vf
enum { TOKENS = 4 };
#include "rows.h"

// y[o] = bias[o] + sum_i w[o, i] x[i] for the outputs o = index[j] of entries begin..end-1; without index, o = j.
// w: (outputs, inputs); bias (may be null), y: (outputs,), of which the others are not touched.
void ES_KERNEL(rows_f32)(const float *w, const float *bias, const int32_t *index, const float *x, float *y,
                         int64_t inputs, int64_t begin, int64_t end) {
  rows(w, bias, index, x, y, inputs, begin, end);
}
