// edgesparse-kernel: op=columns_many dtype=f16 isa=any
#include "weight_f16.h"
#define T uint16_t
#define LOAD widen_f16
#include "columns_many.h"

// columns_many_f32 with weights that are halves (finite); what is computed with are floats.
void ES_KERNEL(columns_many_f16)(const uint16_t *w, const float *bias, const float *x, float *y, int64_t tokens,
                                 int64_t x_pitch, int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t tile,
                                 int64_t begin, int64_t end) {
  columns_many(w, bias, x, y, tokens, x_pitch, y_pitch, inputs, outputs, tile, begin, end);
}
