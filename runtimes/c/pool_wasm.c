// The threads of model_run in WebAssembly: workers that threads.mjs starts, each with an instance of its own on one
// shared memory, its own stack pointer and a call of model_worker, which returns when model_team dismisses it: Deno cannot
// terminate a worker that sleeps.
#include "pool.h"

enum { ES_SPINS = 100000 };  // WebAssembly knows no pause; one look takes some nanoseconds
static inline void es_pause(void) {}
static inline void es_sleep(const uint32_t *word, uint32_t value);
static inline void es_wake(const uint32_t *word) { __builtin_wasm_memory_atomic_notify((int *)word, UINT32_MAX); }
#include "team.h"

extern char __heap_base;  // set by the linker: below is the stack of the calling thread, above those of the workers

static struct {
  es_team team;
  _Alignas(64) es_job job;
  int threads, caller_sleeps;  // threads 0, as at the start, is 1
} pool;

// The main thread of a page may not sleep: it goes on looking.
static inline void es_sleep(const uint32_t *word, uint32_t value) {
  const int caller = (uintptr_t)__builtin_frame_address(0) < (uintptr_t)&__heap_base;
  if (!caller || pool.caller_sleeps) __builtin_wasm_memory_atomic_wait32((int *)word, (int)value, -1);
}

// model_run waits for threads - 1 workers from now on. Once, before the first of them; and with 1 when all of them have
// begun: they return.
int model_team(int threads, int caller_sleeps) {
  if (pool.threads > 1) {
    pool.threads = 1;
    es_team_meet(&pool.team);
    return 0;
  }
  pool.threads = threads;
  pool.caller_sleeps = caller_sleeps;
  pool.team.parts = (uint32_t)threads;
  return 0;
}

// What a worker does until it is dismissed, part 1..threads-1.
int model_worker(int part) {
  for (;;) {
    es_team_meet(&pool.team);
    if (pool.threads <= 1) return 0;
    es_job_part(&pool.job, part, pool.threads, &pool.team);
    es_team_meet(&pool.team);
  }
}

int es_pool_run(const es_job *job) {
  if (pool.threads <= 1) return es_job_part(job, 0, 1, NULL);
  pool.job = *job;
  es_team_meet(&pool.team);
  const int result = es_job_part(job, 0, pool.threads, &pool.team);
  es_team_meet(&pool.team);
  return result;
}
