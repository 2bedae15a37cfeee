// channels_last: the C interface. See model_info.h for model_run.
#ifndef MODEL_H
#define MODEL_H
#include "model_info.h"
#define MODEL_ARENA_BYTES 640
#define MODEL_SCRATCH_BYTES 0  // behind the arena, for each thread beside the first
#define MODEL_WEIGHTS_BYTES 448
#define MODEL_INPUT_0_BYTES 240  // x: f32 1x4x5x3
#define MODEL_OUTPUT_0_BYTES 320  // y: f32 1x4x5x4
#define MODEL_INFO {"channels_last", 640, 448, \
  0, \
  1, 1, model_inputs, model_outputs}
#define MODEL_INPUTS {{"x", 240}}
#define MODEL_OUTPUTS {{"y", 320}}
#endif
