// What generated code tells the program around it. dispatch.c and pool.c define all of it.
#ifndef ES_MODEL_INFO_H
#define ES_MODEL_INFO_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *name;
  uint64_t bytes;
} es_port;

typedef struct {
  const char *name;
  uint64_t arena_bytes, weights_bytes;
  uint64_t scratch_bytes;  // what each further thread needs behind the arena, a multiple of 64
  uint32_t input_count, output_count;
  const es_port *inputs, *outputs;
} es_model;

// What model_run and model_threads return when they refuse.
enum {
  ES_NO_ISA = -1,         // the CPU has no instruction set that was compiled in
  ES_BAD_THREADS = -2,    // not a number of threads from 1 to 256
  ES_TOO_FEW_CPUS = -3,   // fewer CPUs than threads: the calling thread may not use so many
  ES_NO_THREAD = -4,      // the system gives no thread or no memory for its stack; there is one thread now
  ES_BUSY = -5,           // another thread is in model_run, and the pool is one
  ES_OTHER_PROCESS = -6,  // the threads stayed in the process that fork() copied
  ES_BAD_TOKENS = -7,     // a language model: a position, a number of tokens or a token that there is not
};

#ifdef __cplusplus
extern "C" {
#endif
// What libmodel.so exports: these eight, whatever the visibility of everything else.
#pragma GCC visibility push(default)
extern const es_model es_the_model;

// Runs the model once. weights: weights.bin at a 64-byte aligned address; arena:
// es_the_model.arena_bytes, and scratch_bytes more for every thread beside the first, 64-byte aligned,
// contents do not matter; inputs and outputs: one pointer each, in the order of es_the_model. Nothing is
// allocated. Returns 0.
int model_run(const void *weights, void *arena, const void *const *inputs, void *const *outputs);
// The same for kernel calls first..last-1 only, as numbered in model.c: to time them.
int model_calls(int first, int last, const void *weights, void *arena, const void *const *inputs,
                void *const *outputs);
// Part `part` of `parts` of one call, for programs with threads of their own: all parts of a call must have
// returned before the next call begins. The arena as for `parts` threads.
int model_part(int call, int part, int parts, const void *weights, void *arena, const void *const *inputs,
               void *const *outputs);

// model_run uses n threads from now on: the calling one, and n - 1 that sleep between runs. 1, as at the start:
// those end, and none is left when this returns. Not while a model_run is going on. Returns 0.
int model_threads(int n);
// The number that Linux knows thread 1..n-1 by, for sched_setaffinity(); -1 when there is no such thread.
int model_thread_id(int i);

// The ISA that model_run uses ("avx512"); chosen at the first call by what the CPU has.
const char *model_isa(void);
// Forces an ISA that was compiled in. Returns 0, or -1 when it is unknown or the CPU lacks it.
int model_use_isa(const char *name);
#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
