// sparse_pointwise: the C interface. See model_info.h for model_run.
#ifndef MODEL_H
#define MODEL_H
#include "model_info.h"
#define MODEL_ARENA_BYTES 2880
#define MODEL_SCRATCH_BYTES 0  // behind the arena, for each thread beside the first
#define MODEL_WEIGHTS_BYTES 1216
#define MODEL_INPUT_0_BYTES 360  // x: f32 1x3x6x5
#define MODEL_OUTPUT_0_BYTES 480  // y: f32 1x4x6x5
#define MODEL_INFO {"sparse_pointwise", 2880, 1216, \
  0, \
  1, 1, model_inputs, model_outputs}
#define MODEL_INPUTS {{"x", 360}}
#define MODEL_OUTPUTS {{"y", 480}}
#endif
