// edgesparse-kernel: op=rows_many dtype=f32 isa=any
#include "es.h"
#define T float
#define LOAD load_vf
enum { TOKENS = ES_VL == 16 ? 16 : 8 };
#include "rows.h"

// y[t, o] = bias[o] + sum_i w[o, i] x[t, i] for outputs begin..end-1, all of them. x: (tokens, x_pitch), y: (tokens,
// y_pitch), w: (outputs, inputs), bias (may be null): (outputs,).
void ES_KERNEL(rows_many_f32)(const float *w, const float *bias, const float *x, float *y, int64_t tokens,
                              int64_t x_pitch, int64_t y_pitch, int64_t inputs, int64_t begin, int64_t end) {
  rows_many(w, bias, x, y, tokens, x_pitch, y_pitch, inputs, begin, end);
}
