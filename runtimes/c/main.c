// The program inside a bundle: runs and times the model. No libc, no allocation other than mmap, no threads
// unless they are asked for. Inputs and outputs are raw little-endian files, samples one after the other.
//
// Every failure is one line on stderr and exit code 2; the help text in options.h is the manual.
#include "observe.h"
#include "options.h"
#include "start.h"
#include "sys.h"
#include "zeros.h"

// The times of the runs that were asked for, as far as there was time for them.
typedef struct {
  uint64_t done, *wall_ns, *counted[ES_COUNTERS];
  uint64_t *call_ns;  // --per-layer: es_call_count for each run
} timings;

static void run(const void *weights, void *arena, const void *const *inputs, void *const *outputs) {
  switch (model_run(weights, arena, inputs, outputs)) {
    case 0: break;
    case ES_NO_ISA: fail("this CPU has none of the instruction sets that ", es_the_model.name, " was compiled for", 0);
    default: fail("the model", " failed", "", 0);
  }
}

// Nanoseconds of every kernel call of one run.
static void run_calls(es_job job, uint64_t *call_ns) {
  uint64_t before = sys_clock_ns();
  for (int call = 0; call < es_call_count; call++) {
    job.first = call, job.last = call + 1;
    if (es_pool_run(&job) != 0) fail("the model", " failed", "", 0);
    const uint64_t now = sys_clock_ns();
    call_ns[call] = now - before;
    before = now;
  }
}

static timings time_runs(const options *o, es_observer *observer, const es_job *job) {
  timings t = {0};
  const uint64_t bytes = o->num_runs * sizeof(uint64_t), begin = sys_clock_ns();
  t.wall_ns = allocate("timings", bytes);
  for (int i = 0; i < ES_COUNTERS; i++) t.counted[i] = allocate("timings", bytes);
  if (o->per_layer) t.call_ns = allocate("timings", bytes * (uint64_t)es_call_count);
  while (t.done < o->num_runs) {
    uint64_t counted[ES_COUNTERS];
    es_observe(observer, t.done, t.done == 0);
    for (int i = 0; i < ES_COUNTERS; i++) counted[i] = es_counted(observer, i);
    const uint64_t before = sys_clock_ns();
    run(job->weights, job->arena, job->inputs, job->outputs);
    t.wall_ns[t.done] = sys_clock_ns() - before;
    for (int i = 0; i < ES_COUNTERS; i++) t.counted[i][t.done] = es_counted(observer, i) - counted[i];
    if (o->per_layer) run_calls(*job, t.call_ns + t.done * (uint64_t)es_call_count);
    t.done++;
    if (o->max_secs && sys_clock_ns() - begin >= o->max_secs * 1000000000u) break;
  }
  if (t.done) es_observe(observer, t.done, 1);
  return t;
}

static void put_numbers(const char *name, const uint64_t *values, uint64_t count) {
  es_put(&text, ", \"");
  es_put(&text, name);
  es_put(&text, "\": [");
  for (uint64_t i = 0; i < count; i++) {
    if (i) es_put(&text, ", ");
    es_put_number(&text, values[i]);
  }
  es_put(&text, "]");
}

// What --json says of timed runs beside wall_ns.
static void put_timings(const options *o, const es_observer *observer, const timings *t) {
  static const char *const names[ES_COUNTERS] = {"cycles", "instructions", "cache_misses"};
  for (int i = 0; i < ES_COUNTERS; i++)
    if (observer->counters[i] >= 0) put_numbers(names[i], t->counted[i], t->done);
  es_put(&text, ", \"counters_error\": ");
  es_put_number(&text, (uint64_t)-observer->why);
  if (o->per_layer) {
    es_put(&text, ", \"call_ns\": [");
    for (uint64_t r = 0; r < t->done; r++)
      for (int call = 0; call < es_call_count; call++) {
        es_put(&text, call ? ", " : r ? "], [" : "[");
        es_put_number(&text, t->call_ns[r * (uint64_t)es_call_count + (uint64_t)call]);
      }
    es_put(&text, es_call_count && t->done ? "]]" : "]");
  }
  es_put(&text, ", \"page_bytes\": ");
  es_put_number(&text, getauxval(6));  // AT_PAGESZ
  es_put(&text, ", \"hwcap\": ");
  es_put_number(&text, getauxval(16));  // AT_HWCAP
  es_put(&text, ", \"hwcap2\": ");
  es_put_number(&text, getauxval(26));  // AT_HWCAP2
  es_put_observations(&text, observer);
}

int es_main(int argc, const char *const *argv) {
  static options o;
  static const char *mapped[MAX_PORTS], *temporary[MAX_PORTS];
  static const void *inputs[MAX_PORTS];
  static void *outputs[MAX_PORTS];
  static int64_t files[MAX_PORTS];
  const es_model *m = &es_the_model;
  parse(argc, argv, &o);
  if (m->input_count > MAX_PORTS || m->output_count > MAX_PORTS) fail("more than 64 inputs or outputs", "", "", 0);
  static es_observer observer;
  if (o.num_runs) es_count_begin(&observer, o.threads != 1);
  start_threads(&o);

  const void *weights = "";
  if (m->weights_bytes > 0) weights = map_file("weights file", o.weights, m->weights_bytes, " (not of this model)");
  void *arena = allocate("arena", m->arena_bytes + (o.threads - 1) * m->scratch_bytes);
  for (uint32_t i = 0; i < m->input_count; i++)
    mapped[i] = map_file("input file", o.inputs[i], m->inputs[i].bytes * o.samples, " (one sample x --samples)");
  for (uint32_t i = 0; i < m->output_count; i++) outputs[i] = allocate("outputs", m->outputs[i].bytes);

  for (uint32_t i = 0; i < o.output_count; i++) {
    temporary[i] = temporary_name(o.outputs[i]);
    files[i] = sys_openat(temporary[i], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (files[i] < 0) fail("cannot write ", temporary[i], "", files[i]);
  }
  for (uint64_t sample = 0; sample < o.samples; sample++) {
    for (uint32_t i = 0; i < m->input_count; i++) inputs[i] = mapped[i] + sample * m->inputs[i].bytes;
    run(weights, arena, inputs, outputs);
    for (uint32_t i = 0; i < o.output_count; i++) {
      const int64_t error = es_write_all(files[i], outputs[i], m->outputs[i].bytes);
      if (error < 0) {
        for (uint32_t k = 0; k < o.output_count; k++) sys_unlink(temporary[k]);
        fail("cannot write ", temporary[i], "", error);
      }
    }
  }
  for (uint32_t i = 0; i < o.output_count; i++) {
    sys_close(files[i]);
    const int64_t error = sys_rename(temporary[i], o.outputs[i]);
    if (error < 0) {
      for (uint32_t k = i; k < o.output_count; k++) sys_unlink(temporary[k]);
      fail("cannot write ", o.outputs[i], "", error);
    }
  }

  for (uint32_t i = 0; i < m->input_count; i++) inputs[i] = mapped[i];
  for (uint64_t i = 0; i < o.warmup_runs; i++) run(weights, arena, inputs, outputs);
  if (o.num_runs) es_observe_begin(&observer, o.cpus, o.cpu_count);
  const es_job job = {0, es_call_count, weights, arena, inputs, outputs};
  static uint64_t zeros[MAX_PLACES];
  const uint32_t zero_count = o.zeros ? es_run_for_zeros(o.zeros, job, zeros, MAX_PLACES) : 0;
  const timings timed = time_runs(&o, &observer, &job);

  text.fd = 1;
  if (o.json) {
    es_put(&text, "{\"model\": ");
    es_put_json(&text, m->name);
    es_put(&text, ", \"isa\": ");
    es_put_json(&text, model_isa());
    es_put(&text, ", \"threads\": ");
    es_put_number(&text, o.threads);
    es_put(&text, ", \"cpus\": [");
    for (uint32_t i = 0; i < o.cpu_count; i++) {
      if (i) es_put(&text, ", ");
      es_put_number(&text, o.cpus[i]);
    }
    es_put(&text, "], \"samples\": ");
    es_put_number(&text, o.samples);
    put_numbers("wall_ns", timed.wall_ns, timed.done);
    if (o.zeros) put_numbers("zeros", zeros, zero_count);
    if (o.num_runs) put_timings(&o, &observer, &timed);
    es_put(&text, "}\n");
  } else {
    es_put_number(&text, o.samples);
    es_put(&text, " samples, ");
    es_put(&text, model_isa());
    for (uint64_t i = 0; i < timed.done; i++) {
      es_put(&text, i ? " " : "; nanoseconds: ");
      es_put_number(&text, timed.wall_ns[i]);
    }
    es_put(&text, "\n");
  }
  es_flush(&text);
  if (text.failed) fail("cannot write to ", "stdout", "", 0);
  return 0;
}
