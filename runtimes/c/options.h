// What the program in a bundle is asked to do: its options, its help, and the lines it prints when something is wrong.
#ifndef ES_OPTIONS_H
#define ES_OPTIONS_H
#include "program.h"

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
