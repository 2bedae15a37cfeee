// edgesparse-kernel: op=rows dtype=f16 isa=any
#include "weight_f16.h"
#define T uint16_t
#define LOAD widen_f16
enum { TOKENS = 4 };
#include "rows.h"

// rows_f32 with weights that are halves (finite); what is computed with are floats.
void ES_KERNEL(rows_f16)(const uint16_t *w, const float *bias, const int32_t *index, const float *x, float *y,
                         int64_t inputs, int64_t begin, int64_t end) {
  rows(w, bias, index, x, y, inputs, begin, end);
}
