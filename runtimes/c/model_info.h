// What generated code tells the program around it. dispatch.c defines all of it.
#ifndef ES_MODEL_INFO_H
#define ES_MODEL_INFO_H
#include <stdint.h>

typedef struct {
  const char *name;
  uint64_t bytes;
} es_port;

typedef struct {
  const char *name;
  uint64_t arena_bytes, weights_bytes;
  uint32_t input_count, output_count;
  const es_port *inputs, *outputs;
} es_model;

#ifdef __cplusplus
extern "C" {
#endif
// What libmodel.so exports: these five, whatever the visibility of everything else.
#pragma GCC visibility push(default)
extern const es_model es_the_model;

// Runs the model once. weights: weights.bin at a 64-byte aligned address; arena:
// es_the_model.arena_bytes, 64-byte aligned, contents do not matter; inputs and outputs: one
// pointer each, in the order of es_the_model. Nothing is allocated. Returns 0.
int model_run(const void *weights, void *arena, const void *const *inputs, void *const *outputs);
// The same for kernel calls first..last-1 only, as numbered in model.c: to time them one by one.
int model_calls(int first, int last, const void *weights, void *arena, const void *const *inputs,
                void *const *outputs);

// The ISA that model_run uses ("avx512"); chosen at the first call by what the CPU has.
const char *model_isa(void);
// Forces an ISA that was compiled in. Returns 0, or -1 when it is unknown or the CPU lacks it.
int model_use_isa(const char *name);
#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
