// What the program in the bundle of a language model is asked to do: its options, its help.
#ifndef ES_REQUEST_H
#define ES_REQUEST_H
#include "program.h"

enum { MAX_STOPS = 64 };
static const uint64_t MAX_TOKENS = 1u << 30;

typedef struct {
  options common;
  const char *input, *output;
  uint64_t max_tokens, positions, window, seed;
  uint32_t stops[MAX_STOPS], stop_count;
  float sampling[2];
  int stream, dense;
} request;

static const char help[] =
    " --weights weights.bin --input TOKENS.bin [--output OUT.bin]\n"
    "\n"
    "  --weights FILE     weights.bin of the same bundle\n"
    "  --input FILE       tokens, 32-bit integers: the beginning of a text\n"
    "  --output FILE      tokens that continue it, written to FILE.tmp and renamed\n"
    "  --max-tokens N     of these (default 100)\n"
    "  --positions N      the text ends where N tokens have been read, its beginning included; one more is written, which\n"
    "                     is not read (default: as many as the caches hold); 0: it goes on, and forgets the oldest\n"
    "  --stop TOKEN       ends the text, and is not part of it; may be repeated\n"
    "  --temperature T    0 (default): the likeliest token; else one by chance, the less likely the larger T\n"
    "  --top-p P          among the likeliest tokens that together have the probability P (default 1)\n"
    "  --seed N           of chance (default 0)\n"
    "  --score W          instead of all that: the input is windows of W tokens; the output, floats, has for each token\n"
    "                     but the first of every window -log of its probability after those before it\n"
    "  --dense            no rule of activation sparsity holds\n"
    "  --stream           print each token, a line each, as soon as it is there\n"
    "  --threads N        run on N threads; 0: as many as there are CPUs (default 1)\n"
    "  --cpu C[,C...]     run on CPU number C only; with threads, one number for each\n"
    "  --cores WHICH      big, little or all, or a mask of CPU numbers in hexadecimal (0xf0), in the place of --cpu\n"
    "  --json             print one JSON document at the end\n"
    "  --version          print the model's name and the instruction set\n"
    "  --help             print this\n";

__attribute__((noreturn)) static void print(const char *first, const char *second) {
  text.fd = 1;
  es_put(&text, es_same(second, help) ? "usage: model" : es_the_model.name);
  es_put(&text, first);
  es_put(&text, second);
  es_put(&text, es_same(second, help) ? "" : "\n");
  es_flush(&text);
  sys_exit(text.failed ? 2 : 0);
}

// "model: <what> N tokens, the context is <context>: <hint>", exit code 2.
__attribute__((noreturn)) static void fail_length(const char *what, uint64_t tokens, const char *hint) {
  text.fd = 2;
  text.used = 0;
  es_put(&text, program);
  es_put(&text, what);
  es_put_number(&text, tokens);
  es_put(&text, " tokens, the context is ");
  es_put_number(&text, es_context);
  es_put(&text, hint);
  es_flush(&text);
  sys_exit(2);
}

// "model: tokens are 0 to N, number <place> of <path> is <token>: is it the right tokenizer?", exit code 2.
__attribute__((noreturn)) static void fail_token(const char *path, uint64_t place, int64_t token, uint64_t vocabulary) {
  text.fd = 2;
  text.used = 0;
  es_put(&text, program);
  es_put(&text, ": tokens are 0 to ");
  es_put_number(&text, vocabulary - 1);
  es_put(&text, ", number ");
  es_put_number(&text, place);
  es_put(&text, " of ");
  es_put(&text, path);
  es_put(&text, token < 0 ? " is -" : " is ");
  es_put_number(&text, (uint64_t)(token < 0 ? -token : token));
  es_put(&text, ": is it the right tokenizer?\n");
  es_flush(&text);
  sys_exit(2);
}

// A number such as 0.95, at most `most`. Of more than 16 digits the rest decide nothing, but must be digits, too.
static double decimal(const char *option, const char *word, double most) {
  double value = 0, unit = 1;
  int digits = 0, point = 0;
  for (const char *p = word; *p; p++) {
    if (*p == '.' && !point) {
      point = 1;
      continue;
    }
    if (*p < '0' || *p > '9') fail("not a number in range: ", option, word, 0);
    digits = 1;
    if (value >= 1e15 && point) continue;
    value = value * 10 + (double)(*p - '0');
    if (point) unit *= 10;
  }
  if (!digits || value / unit > most) fail("not a number in range: ", option, word, 0);
  return value / unit;
}

static void parse(int argc, const char *const *argv, request *r) {
  double top_p = 1;  // one too small for a float is more than 0
  r->common.threads = 1, r->max_tokens = 100, r->sampling[1] = 1, r->positions = es_context;
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (es_same(name, "--help")) print("", help);
    if (es_same(name, "--version")) print(" ", model_isa());
    static const char *const switches[] = {"--json", "--stream", "--dense"};
    int *const set[] = {&r->common.json, &r->stream, &r->dense};
    int which = 0;
    while (which < 3 && !es_same(name, switches[which])) which++;
    if (which < 3) {
      *set[which] = 1;
      continue;
    }
    static const char *const with_value[] = {"--weights", "--input", "--output",      "--max-tokens", "--positions", "--stop",
                                             "--seed",    "--score", "--temperature", "--top-p",      "--threads",   "--cores",
                                             "--cpu"};
    enum { WEIGHTS, INPUT, OUTPUT, MOST, POSITIONS, STOP, SEED_, SCORE, TEMPERATURE, TOP_P, THREADS, CORES, CPU, OPTIONS };
    which = 0;
    while (which < OPTIONS && !es_same(name, with_value[which])) which++;
    if (which == OPTIONS) fail("unknown option ", name, " (see --help)", 0);
    if (i + 1 == argc) fail("option ", name, " needs a value", 0);
    const char *value = argv[++i];
    switch (which) {
      case WEIGHTS: r->common.weights = value; break;
      case INPUT: r->input = value; break;
      case OUTPUT: r->output = value; break;
      case MOST: r->max_tokens = number("--max-tokens ", value, MAX_TOKENS); break;
      case POSITIONS: r->positions = number("--positions ", value, MAX_TOKENS); break;
      case STOP:
        if (r->stop_count == MAX_STOPS) fail("too many ", name, " options", 0);
        r->stops[r->stop_count++] = (uint32_t)number("--stop ", value, INT32_MAX);
        break;
      case SEED_: r->seed = number("--seed ", value, INT32_MAX); break;
      case SCORE: r->window = number("--score ", value, MAX_TOKENS); break;
      case TEMPERATURE: r->sampling[0] = (float)decimal("--temperature ", value, 1000); break;
      case TOP_P: r->sampling[1] = (float)(top_p = decimal("--top-p ", value, 1)); break;
      case THREADS: r->common.threads = number("--threads ", value, MAX_THREADS); break;
      case CORES: r->common.cores = value; break;
      default: parse_cpus(value, &r->common);
    }
  }
  if (!r->common.weights) fail("option ", "--weights", " is missing (see --help)", 0);
  if (!r->input) fail("option ", "--input", " is missing (see --help)", 0);
  if (r->window == 1) fail("--score", " needs windows of 2 tokens or more", "", 0);
  if (r->window > es_context + 1) fail_length(": --score: windows of ", r->window, " (and one after it)\n");
  if (r->positions > es_context) fail_length(": --positions: ", r->positions, "\n");
  if (top_p <= 0) fail("--top-p", " must be more than 0", "", 0);
}
#endif
