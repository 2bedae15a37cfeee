// One run of the model, by the thread that asks for it or by all threads of the pool.
#ifndef ES_POOL_H
#define ES_POOL_H
#include "model_info.h"
#include "parts.h"

typedef struct {
  int first, last;  // calls first..last-1
  const void *weights;
  void *arena;
  const void *const *inputs;
  void *const *outputs;
} es_job;

#pragma GCC visibility push(hidden)
extern const int es_call_count;  // of the model; dispatch.c
extern const uint64_t es_context;  // of a language model: so many positions its caches hold; dispatch.c
// Part `part` of `parts` of calls first..last-1; dispatch.c.
int es_calls(int first, int last, int part, int parts, es_team *team, const void *weights, void *arena,
             const void *const *inputs, void *const *outputs);
#ifndef ES_ONE_THREAD
// All parts of `job`, as model_run; pool.c or pool_wasm.c.
int es_pool_run(const es_job *job);
#endif
#ifdef __wasm__
// pool_wasm.c, for threads.mjs.
int model_team(int threads, int caller_sleeps);
int model_worker(int part);
#endif
#pragma GCC visibility pop

static inline int es_job_part(const es_job *job, int part, int parts, es_team *team) {
  return es_calls(job->first, job->last, part, parts, team, job->weights, job->arena, job->inputs, job->outputs);
}
#ifdef ES_ONE_THREAD
static inline int es_pool_run(const es_job *job) { return es_job_part(job, 0, 1, NULL); }
#endif
#endif
