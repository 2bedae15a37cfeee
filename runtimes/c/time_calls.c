// Times a run of a libmodel.so, whole and by its kernel calls, for runtimes/local.py: a library of its own, so that libmodel
// carries none of it. `calls` is its model_calls; call_ns has room for `count` times. Returns what it returns.
#include <stdint.h>
#include <time.h>

typedef int model_run(const void *, void *, const void *const *, void *const *);
typedef int model_calls(int, int, const void *, void *, const void *const *, void *const *);

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

__attribute__((visibility("default"))) int es_time_calls(model_calls *calls, int count, const void *weights,
                                                         void *arena, const void *const *inputs,
                                                         void *const *outputs, uint64_t *call_ns) {
  uint64_t before = now_ns();
  for (int call = 0; call < count; call++) {
    const int code = calls(call, call + 1, weights, arena, inputs, outputs);
    if (code != 0) return code;
    const uint64_t after = now_ns();
    call_ns[call] = after - before;
    before = after;
  }
  return 0;
}

// One run: `run` is model_run, *run_ns its time.
__attribute__((visibility("default"))) int es_time_run(model_run *run, const void *weights, void *arena,
                                                       const void *const *inputs, void *const *outputs,
                                                       uint64_t *run_ns) {
  const uint64_t before = now_ns();
  const int code = run(weights, arena, inputs, outputs);
  *run_ns = now_ns() - before;
  return code;
}
