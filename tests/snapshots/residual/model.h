// residual: the C interface. See model_info.h for model_run.
#ifndef MODEL_H
#define MODEL_H
#include "model_info.h"
#define MODEL_ARENA_BYTES 1600
#define MODEL_SCRATCH_BYTES 0  // behind the arena, for each thread beside the first
#define MODEL_WEIGHTS_BYTES 1536
#define MODEL_INPUT_0_BYTES 576  // x: f32 1x4x6x6
#define MODEL_OUTPUT_0_BYTES 576  // y: f32 1x4x6x6
#define MODEL_INFO {"residual", 1600, 1536, \
  0, \
  1, 1, model_inputs, model_outputs}
#define MODEL_INPUTS {{"x", 576}}
#define MODEL_OUTPUTS {{"y", 576}}
#endif
