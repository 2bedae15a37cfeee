// edgesparse-kernel: op=columns dtype=f16 isa=any
#include "weight_f16.h"
#define T uint16_t
#define LOAD widen_f16
enum { CHUNK = ES_VL >= 8 ? 8 * ES_VL : 32, BLOCK = 16 };
#include "columns.h"

// columns_f32 with weights that are halves (finite); what is computed with are floats.
void ES_KERNEL(columns_f16)(const uint16_t *w, const float *bias, const int32_t *index, const float *value, float *y,
                            int64_t count, int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  columns(w, bias, index, value, y, count, inputs, outputs, tile, begin, end);
}
