// What of a layer is timed: making the list of active inputs, rounding them to bytes, multiplying. Without a tile,
// weights lie by output, and there is a list of outputs. Compiled for one type
// of weights (F32, F16 or QC8), with the kernels under the names that they have without type and instruction set.
#include "kernels.h"

typedef struct {
  const void *w;
  const float *wscale, *x, *threshold;
  int32_t *index;
  float *value;
  int32_t *count;
  int8_t *q;
  float *scale;
  int32_t *sum;
  float *y;
  int64_t inputs, outputs, tile, tokens, dense, first, begin, end;
} job;

static void prepare(const job *j) {
  const int64_t listed = !j->dense && j->tile;
  if (listed) select_f32(j->x, j->threshold, j->index, j->value, j->count, j->inputs, 0);
#ifdef QC8
  const int64_t pitch = (j->inputs + 31) / 32 * 32;
  if (listed) quantise_f32(j->value, j->q, j->scale, j->sum, j->count[0]);
  for (int64_t t = 0; !listed && t < j->tokens; t++)
    quantise_f32(j->x + t * j->inputs, j->q + t * pitch, j->scale + t * pitch / 32, j->sum + t * pitch / 32, j->inputs);
#endif
}

static void multiply(const job *j) {
  const int64_t count = j->dense ? j->inputs : j->count[0];
  const int32_t *index = j->dense ? 0 : j->index;
#ifdef QC8
  const int64_t pitch = (j->inputs + 31) / 32 * 32;
  if (j->tokens > 1)
    columns_many(j->w, j->wscale, 0, j->q, j->scale, j->sum, j->y, j->tokens, pitch, j->outputs, j->inputs, j->outputs,
                 j->tile, j->begin, j->end);
  else if (!j->tile)
    rows(j->w, j->wscale, 0, index, j->q, j->scale, j->sum, j->y, j->inputs, j->begin, j->end);
  else
    columns(j->w, j->wscale, 0, index, j->q, j->scale, j->sum, j->y, count, j->inputs, j->outputs, j->tile, j->begin,
            j->end);
#else
  if (j->tokens > 1)
    columns_many(j->w, 0, j->x, j->y, j->tokens, j->inputs, j->outputs, j->inputs, j->outputs, j->tile, j->begin, j->end);
  else if (!j->tile)
    rows(j->w, 0, index, j->x, j->y, j->inputs, j->begin, j->end);
  else
    columns(j->w, 0, index, j->dense ? j->x : j->value, j->y, count, j->inputs, j->outputs, j->tile, j->begin, j->end);
#endif
}

// `first`: this thread prepares for all.
__attribute__((visibility("default"))) void run(const job *jobs, int64_t count) {
  for (const job *j = jobs; j < jobs + count; j++) {
    if (j->first) prepare(j);
    multiply(j);
  }
}

__attribute__((visibility("default"))) void read(const float *x, float *y, int64_t floats) {
  probe_read_f32(x, y, floats, 1);
}
