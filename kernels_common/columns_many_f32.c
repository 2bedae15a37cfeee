// edgesparse-kernel: op=columns_many dtype=f32 isa=any
#include "es.h"
#define T float
#define LOAD load_vf
#include "columns_many.h"

// y[t, o] = bias[o] + sum_i w[o, i] x[t, i], all inputs. x: (tokens, x_pitch), y: (tokens, y_pitch), w and bias (may be
// null) as those of columns_f32. Tiles begin..end-1 are computed, ceil(outputs / tile) in all.
void ES_KERNEL(columns_many_f32)(const float *w, const float *bias, const float *x, float *y, int64_t tokens,
                                 int64_t x_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t tile,
                                 int64_t begin, int64_t end) {
  columns_many(w, bias, x, y, tokens, x_pitch, y_pitch, inputs, outputs, tile, begin, end);
}
