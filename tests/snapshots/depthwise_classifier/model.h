// depthwise_classifier: the C interface. See model_info.h for model_run.
#ifndef MODEL_H
#define MODEL_H
#include "model_info.h"
#define MODEL_ARENA_BYTES 1472
#define MODEL_SCRATCH_BYTES 1024  // behind the arena, for each thread beside the first
#define MODEL_WEIGHTS_BYTES 512
#define MODEL_INPUT_0_BYTES 1296  // x: f32 1x4x9x9
#define MODEL_OUTPUT_0_BYTES 12  // y: f32 1x3
#define MODEL_INFO {"depthwise_classifier", 1472, 512, \
  1024, \
  1, 1, model_inputs, model_outputs}
#define MODEL_INPUTS {{"x", 1296}}
#define MODEL_OUTPUTS {{"y", 12}}
#endif
