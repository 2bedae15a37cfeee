// The program inside a bundle: runs and times the model. No libc, no allocation other than mmap, no threads
// unless they are asked for. Inputs and outputs are raw little-endian files, samples one after the other.
//
// Every failure is one line on stderr and exit code 2; the help text below is the manual.
#include "cores.h"
#include "format.h"
#include "model_info.h"
#include "observe.h"
#include "pool.h"
#include "start.h"
#include "sys.h"

enum { MAX_PORTS = 64, MAX_PATH = 4096, MAX_CPU = 1023, MAX_THREADS = 256 };
static const uint64_t MAX_SAMPLES = 1u << 30, MAX_RUNS = 10000000;

typedef struct {
  const char *weights, *cores, *inputs[MAX_PORTS], *outputs[MAX_PORTS];
  uint32_t input_count, output_count;
  uint64_t samples, num_runs, warmup_runs, threads;
  uint64_t max_secs;
  uint32_t cpus[MAX_THREADS], cpu_count;
  int json, per_layer;
} options;

// The times of the runs that were asked for, as far as there was time for them.
typedef struct {
  uint64_t done, *wall_ns, *counted[ES_COUNTERS];
  uint64_t *call_ns;  // --per-layer: es_call_count for each run
} timings;

static const char *program = "model";
static es_text text;  // every line this program prints; zero-initialised, so that it takes no room in the file

// fail("cannot open ", path, why, errno) prints "model: cannot open PATHwhy: no such file".
__attribute__((noreturn)) static void fail(const char *what, const char *name, const char *more, int64_t error) {
  text.fd = 2;
  text.used = 0;
  es_put(&text, program);
  es_put(&text, ": ");
  es_put(&text, what);
  es_put(&text, name);
  es_put(&text, more);
  if (error < 0) {
    es_put(&text, ": ");
    switch (error) {
      case -ENOENT: es_put(&text, "no such file or folder"); break;
      case -EACCES: es_put(&text, "permission denied"); break;
      case -EISDIR: es_put(&text, "is a folder"); break;
      case -ENOSPC: es_put(&text, "no space left on the device"); break;
      case -EROFS: es_put(&text, "read-only file system"); break;
      case -ENOMEM: es_put(&text, "out of memory"); break;
      default:
        es_put(&text, "error ");
        es_put_number(&text, (uint64_t)-error);
    }
  }
  es_put(&text, "\n");
  es_flush(&text);
  sys_exit(2);
}

// "<what> <path> has A bytes, expected B<more>", exit code 2.
__attribute__((noreturn)) static void fail_size(const char *what, const char *path, uint64_t has, uint64_t expected,
                                                const char *more) {
  text.fd = 2;
  text.used = 0;
  const char *const words[] = {program, ": ", what, " ", path, " has "};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) es_put(&text, words[i]);
  es_put_number(&text, has);
  es_put(&text, " bytes, expected ");
  es_put_number(&text, expected);
  es_put(&text, more);
  es_put(&text, "\n");
  es_flush(&text);
  sys_exit(2);
}

static void print_ports(es_text *out, const char *title, const es_port *ports, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    es_put(out, i == 0 ? title : "         ");
    es_put(out, ports[i].name);
    es_put(out, " (");
    es_put_number(out, ports[i].bytes);
    es_put(out, " bytes)\n");
  }
}

__attribute__((noreturn)) static void print_help(void) {
  text.fd = 1;
  es_put(&text, "usage: model --weights weights.bin --input IN.bin ... [--output OUT.bin ...]\n\nRuns ");
  es_put(&text, es_the_model.name);
  es_put(&text, ".\n\n");
  print_ports(&text, "inputs:  ", es_the_model.inputs, es_the_model.input_count);
  print_ports(&text, "outputs: ", es_the_model.outputs, es_the_model.output_count);
  es_put(&text,
         "\n"
         "  --weights FILE     weights.bin of the same bundle\n"
         "  --input FILE       raw little-endian values; once per input, in the order above\n"
         "  --output FILE      written to FILE.tmp and renamed; once per output, or not at all\n"
         "  --samples N        the files hold N samples one after the other (default 1)\n"
         "  --num-runs R       then time R runs on the first sample (default 0)\n"
         "  --warmup-runs W    untimed runs before them (default 0)\n"
         "  --max-secs S       stop timing after S seconds, when at least one run was timed\n"
         "  --per-layer        after each timed run another one that times every kernel call\n"
         "  --threads N        run on N threads; 0: as many as there are CPUs (default 1)\n"
         "  --cpu C[,C...]     run on CPU number C only; with threads, one number for each\n"
         "                     (default: timed runs on the biggest cores, where they differ)\n"
         "  --cores WHICH      big, little or all, or a mask of CPU numbers in hexadecimal (0xf0), in the place of --cpu\n"
         "  --json             print one JSON document: isa, threads, cpus, samples, wall_ns; of timed runs also\n"
         "                     call_ns, cycles, instructions, cache_misses, clocks and temperatures\n"
         "  --version          print the model's name and the instruction set\n"
         "  --help             print this\n");
  es_flush(&text);
  sys_exit(text.failed ? 2 : 0);
}

__attribute__((noreturn)) static void print_version(void) {
  text.fd = 1;
  es_put(&text, es_the_model.name);
  es_put(&text, " ");
  es_put(&text, model_isa());
  es_put(&text, "\n");
  es_flush(&text);
  sys_exit(text.failed ? 2 : 0);
}

static uint64_t number(const char *option, const char *word, uint64_t limit) {
  uint64_t value = 0;
  if (!es_parse_number(word, limit, &value)) fail("not a number in range: ", option, word[0] ? word : "(empty)", 0);
  return value;
}

// "2,3": the CPUs of a list.
static void parse_cpus(const char *list, options *o) {
  char word[8];
  uint32_t length = 0;
  o->cpu_count = 0;
  for (const char *p = list;; p++) {
    if (*p && *p != ',') {
      if (length + 1 == sizeof word) fail("not a number in range: ", "--cpu ", list, 0);
      word[length++] = *p;
      continue;
    }
    word[length] = 0;
    if (o->cpu_count == MAX_THREADS) fail("too many CPUs: ", "--cpu ", list, 0);
    const uint32_t cpu = (uint32_t)number("--cpu ", word, MAX_CPU);
    for (uint32_t i = 0; i < o->cpu_count; i++)
      if (o->cpus[i] == cpu) fail("a CPU is listed twice: ", "--cpu ", list, 0);
    o->cpus[o->cpu_count++] = cpu;
    length = 0;
    if (!*p) return;
  }
}

static void parse(int argc, const char *const *argv, options *o) {
  o->samples = o->threads = 1;
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (es_same(name, "--help")) print_help();
    if (es_same(name, "--version")) print_version();
    if (es_same(name, "--json")) {
      o->json = 1;
      continue;
    }
    if (es_same(name, "--per-layer")) {
      o->per_layer = 1;
      continue;
    }
    static const char *const with_value[] = {"--weights",     "--input",    "--output",  "--samples", "--num-runs",
                                             "--warmup-runs", "--max-secs", "--threads", "--cores",   "--cpu"};
    enum { WEIGHTS, INPUT, OUTPUT, SAMPLES, NUM_RUNS, WARMUP_RUNS, MAX_SECS, THREADS, CORES, CPU, COUNT };
    int which = 0;
    while (which < COUNT && !es_same(name, with_value[which])) which++;
    if (which == COUNT) fail("unknown option ", name, " (see --help)", 0);
    if (i + 1 == argc) fail("option ", name, " needs a value", 0);
    const char *value = argv[++i];
    switch (which) {
      case WEIGHTS: o->weights = value; break;
      case INPUT:
        if (o->input_count == MAX_PORTS) fail("too many ", name, " options", 0);
        o->inputs[o->input_count++] = value;
        break;
      case OUTPUT:
        if (o->output_count == MAX_PORTS) fail("too many ", name, " options", 0);
        o->outputs[o->output_count++] = value;
        break;
      case SAMPLES: o->samples = number("--samples ", value, MAX_SAMPLES); break;
      case NUM_RUNS: o->num_runs = number("--num-runs ", value, MAX_RUNS); break;
      case WARMUP_RUNS: o->warmup_runs = number("--warmup-runs ", value, MAX_RUNS); break;
      case MAX_SECS: o->max_secs = number("--max-secs ", value, 1000000); break;
      case CORES: o->cores = value; break;
      case THREADS: o->threads = number("--threads ", value, MAX_THREADS); break;
      default: parse_cpus(value, o);
    }
  }
  if (o->samples == 0) fail("--samples", " must be at least 1", "", 0);
  if (es_the_model.weights_bytes > 0 && o->weights == NULL) fail("option ", "--weights", " is missing (see --help)", 0);
  if (o->input_count < es_the_model.input_count)
    fail("no --input for ", es_the_model.inputs[o->input_count].name, " (see --help)", 0);
  if (o->input_count > es_the_model.input_count)
    fail("one --input too many: ", o->inputs[es_the_model.input_count], "", 0);
  if (o->output_count > es_the_model.output_count)
    fail("one --output too many: ", o->outputs[es_the_model.output_count], "", 0);
  if (o->output_count > 0 && o->output_count < es_the_model.output_count)
    fail("no --output for ", es_the_model.outputs[o->output_count].name, " (give all or none)", 0);
}

// --cores 0xf0: this thread, and those that it starts, may run on these CPUs only.
static void use_mask(const char *digits) {
  uint64_t mask[16] = {0};
  uint32_t count = 0;
  while (digits[count]) count++;
  if (count == 0 || count > 256) fail("--cores", " is big, little, all or a mask such as 0xf0", "", 0);
  for (uint32_t i = 0; i < count; i++) {
    const char c = digits[count - 1 - i];
    const int letter = (c | 32) >= 'a' && (c | 32) <= 'f';
    if (!letter && (c < '0' || c > '9')) fail("--cores", " is big, little, all or a mask such as 0xf0", "", 0);
    mask[i / 16] |= (uint64_t)(letter ? (c | 32) - 'a' + 10 : c - '0') << i % 16 * 4;
  }
  const int64_t error = sys_call(SYS_sched_setaffinity, 0, sizeof mask, (int64_t)mask, 0, 0, 0);
  if (error < 0) fail("this process may not run on the CPUs of ", "--cores 0x", digits, error);
}

// The threads that --threads asks for, on the CPUs of --cpu or --cores; timed runs are on the big ones, unless told
// otherwise.
static void start_threads(options *o) {
  const char *cores = o->cores;
  const int big = cores && es_same(cores, "big"), little = cores && es_same(cores, "little");
  const int all = cores && es_same(cores, "all"), mask = cores && !big && !little && !all;
  if (cores && o->cpu_count) fail("--cpu", " and --cores exclude each other", "", 0);
  if (mask) use_mask(cores[0] == '0' && (cores[1] | 32) == 'x' ? cores + 2 : cores);
  const int64_t allowed = sys_cpu_count();
  if (o->threads == 0) o->threads = o->cpu_count ? o->cpu_count : (uint64_t)(allowed > MAX_THREADS ? MAX_THREADS : allowed);
  if (o->cpu_count && o->cpu_count != o->threads) fail("--cpu", " needs one number for each of the ", "--threads", 0);
  switch (model_threads((int)o->threads)) {
    case 0: break;
    case ES_TOO_FEW_CPUS: {
      text.fd = 2;
      es_put(&text, program);
      es_put(&text, ": --threads ");
      es_put_number(&text, o->threads);
      es_put(&text, ": this process may use ");
      es_put_number(&text, (uint64_t)allowed);
      es_put(&text, allowed == 1 ? " CPU only\n" : " CPUs only\n");
      es_flush(&text);
      sys_exit(2);
    }
    default: fail("the system gives no ", "threads", "", 0);
  }
  if ((cores ? big || little : o->num_runs && !o->cpu_count) && es_sized_cpus(o->cpus, o->threads, little))
    o->cpu_count = (uint32_t)o->threads;
  for (uint32_t i = 0; i < o->cpu_count; i++) {
    const int64_t error = sys_pin_to_cpu(i ? model_thread_id((int)i) : 0, o->cpus[i]);
    if (error < 0) fail("this process may not run on the CPU number given with ", "--cpu", "", error);
  }
}

// The file as read-only memory at a page boundary; its size must be `bytes`.
static const void *map_file(const char *what, const char *path, uint64_t bytes, const char *more) {
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  if (fd < 0) fail("cannot open ", path, "", fd);
  const int64_t has = sys_file_bytes(fd);
  if (has < 0) fail("cannot read ", path, "", has);
  if ((uint64_t)has != bytes) fail_size(what, path, (uint64_t)has, bytes, more);
  if (bytes == 0) return "";
  const int64_t address = sys_mmap(bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd);
  if (address < 0 && address > -4096) fail("cannot map ", path, "", address);
  sys_close(fd);
  return (const void *)address;
}

// Zeroed memory at a page boundary, so that the alignment of 64 bytes holds for any page size.
static void *allocate(const char *what, uint64_t bytes) {
  const int64_t address = sys_mmap(bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (address < 0 && address > -4096) fail("cannot allocate the ", what, "", address);
  return (void *)address;
}

static const char *temporary_name(const char *path) {
  uint64_t length = 0;
  while (path[length]) length++;
  if (length + 5 > MAX_PATH) fail("the name of an output is too long: ", path, "", 0);
  char *name = allocate("name of an output", length + 5);
  for (uint64_t i = 0; i < length; i++) name[i] = path[i];
  for (int i = 0; i < 5; i++) name[length + (uint64_t)i] = ".tmp"[i];
  return name;
}

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
  static es_observer observer;
  if (o.num_runs) es_observe_begin(&observer, o.cpus, o.cpu_count);
  const es_job job = {0, es_call_count, weights, arena, inputs, outputs};
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
