// A model by hand, as the compiler would write it: y = 2 x + w for 5 floats, and n = k + 1 for
// 3 integers, with the result passing through the arena. It stands in for model.c where a test
// is about what surrounds it.
#include "pool.h"
enum { N = 5, K = 3 };
#ifndef TOY_ISA
#define TOY_ISA "toy"
#endif

static const es_port inputs_[] = {{"x", 4 * N}, {"k", 8 * K}};
static const es_port outputs_[] = {{"y", 4 * N}, {"n", 8 * K}};
const es_model es_the_model = {"toy", 64, 4 * N, 64, 2, 2, inputs_, outputs_};
const int es_call_count = 1;
static const char *isa = TOY_ISA;

const char *model_isa(void) { return isa; }

int model_use_isa(const char *name) {
  for (int i = 0; i < 4; i++)
    if (name[i] != "slow"[i]) return -1;
  isa = "slow";
  return 0;
}

// One call, which all threads divide; each writes the mark of its part into its own work memory, too.
int es_calls(int first, int last, int part, int parts, es_team *team, const void *weights, void *arena,
             const void *const *inputs, void *const *outputs) {
  (void)first, (void)last;
#ifdef TOY_HANGS
  for (volatile int always = 1; always;) {}
#endif
#ifdef TOY_CRASHES
  __builtin_trap();
#endif
#ifdef TOY_ILLEGAL
  __asm__ volatile(".inst 0");  // udf #0 of arm64: no CPU ever runs it
#endif
#ifdef TOY_FAILS
  return 1;
#endif
  if ((uintptr_t)weights % 64 || (uintptr_t)arena % 64) return 1;
  const float *w = weights, *x = inputs[0];
  const int64_t *k = inputs[1];
  float *half = arena, *y = outputs[0];
  int64_t *n = outputs[1];
  if (part) *((int32_t *)arena + 16 * part) = part;
  es_range r;
  if (es_evenly(&r, N, part, parts))
    for (int64_t i = r.begin; i < r.end; i++) half[i] = 2 * x[i];
  es_meet(team);
  if (es_evenly(&r, N, part, parts))
    for (int64_t i = r.begin; i < r.end; i++) y[N - 1 - i] = half[N - 1 - i] + w[N - 1 - i];  // others' halves
  if (es_alone(part))
    for (int i = 0; i < K; i++) n[i] = k[i] + 1;
  return 0;
}

int model_run(const void *weights, void *arena, const void *const *inputs, void *const *outputs) {
  return es_pool_run(&(es_job){0, 1, weights, arena, inputs, outputs});
}

int model_calls(int first, int last, const void *weights, void *arena, const void *const *inputs,
                void *const *outputs) {
  return es_pool_run(&(es_job){first, last, weights, arena, inputs, outputs});
}
