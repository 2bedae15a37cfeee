// edgesparse-kernel: op=rows_many dtype=f16 isa=any
#include "weight_f16.h"
#define T uint16_t
#define LOAD widen_f16
enum { TOKENS = ES_VL == 16 ? 16 : 8 };
#include "rows.h"

// rows_many_f32 with weights that are halves (finite); what is computed with are floats.
void ES_KERNEL(rows_many_f16)(const uint16_t *w, const float *bias, const float *x, float *y, int64_t tokens,
                              int64_t x_pitch, int64_t y_pitch, int64_t inputs, int64_t begin, int64_t end) {
  rows_many(w, bias, x, y, tokens, x_pitch, y_pitch, inputs, begin, end);
}
