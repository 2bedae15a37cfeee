// edgesparse-kernel: op=columns dtype=f32 isa=any
#include "es.h"
#define T float
#define LOAD load_vf
// 128 sums with AVX-512, 64 with AVX and NEON, 32 elsewhere; 4 kB of weights are asked for ahead.
enum { CHUNK = ES_VL >= 8 ? 8 * ES_VL : 32, BLOCK = 8 };
#include "columns.h"

// y[o] = bias[o] + sum_j w[o, index[j]] value[j] over the `count` entries of the list; without index, entry j is input
// j. w: tiles of `tile` outputs (a multiple of 16, at most 512), each (inputs, width), the last as wide as what is
// left, rounded up to 16; bias (may be null), y: (outputs,). Tiles begin..end-1 are computed, ceil(outputs / tile) in all.
void ES_KERNEL(columns_f32)(const float *w, const float *bias, const int32_t *index, const float *value, float *y,
                            int64_t count, int64_t inputs, int64_t outputs, int64_t tile, int64_t begin, int64_t end) {
  columns(w, bias, index, value, y, count, inputs, outputs, tile, begin, end);
}
