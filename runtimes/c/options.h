// What the program in a bundle is asked to do: its options, its help, and the lines it prints when something is wrong.
#ifndef ES_OPTIONS_H
#define ES_OPTIONS_H
#include "format.h"
#include "model_info.h"

enum { MAX_PORTS = 64, MAX_PATH = 4096, MAX_CPU = 1023, MAX_THREADS = 256, MAX_PLACES = 4096 };
static const uint64_t MAX_SAMPLES = 1u << 30, MAX_RUNS = 10000000;

typedef struct {
  const char *weights, *cores, *zeros, *inputs[MAX_PORTS], *outputs[MAX_PORTS];
  uint32_t input_count, output_count;
  uint64_t samples, num_runs, warmup_runs, threads;
  uint64_t max_secs;
  uint32_t cpus[MAX_THREADS], cpu_count;
  int json, per_layer;
} options;

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
         "  --zeros LIST       count the zeros that calls write, in a run before: CALL:OFFSET:PLANES:ELEMENTS:PITCH:BYTES,\n"
         "                     in the arena, separated by commas\n"
         "  --threads N        run on N threads; 0: as many as there are CPUs (default 1)\n"
         "  --cpu C[,C...]     run on CPU number C only; with threads, one number for each\n"
         "                     (default: timed runs on the biggest cores, where they differ)\n"
         "  --cores WHICH      big, little or all, or a mask of CPU numbers in hexadecimal (0xf0), in the place of --cpu\n"
         "  --json             print one JSON document: isa, threads, cpus, samples, wall_ns; of timed runs also\n"
         "                     call_ns, cycles, instructions, cache_misses, clocks, temperatures, battery\n"
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
                                             "--warmup-runs", "--max-secs", "--threads", "--cores",   "--cpu",
                                             "--zeros"};
    enum { WEIGHTS, INPUT, OUTPUT, SAMPLES, NUM_RUNS, WARMUP_RUNS, MAX_SECS, THREADS, CORES, CPU, ZEROS, COUNT };
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
      case ZEROS: o->zeros = value; break;
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
#endif
