// The program in the bundle of a language model: continues a text, or says how well the model predicts one. Tokens come
// and go as numbers; what they mean is the business of whoever calls. As main.c, it has no libc.
//
// Every failure is one line on stderr and exit code 2; the help text in request.h is the manual.
#include "request.h"
#include "start.h"

enum { POSITION, COUNT, FLAGS, TARGET, SEED, HEADER };  // the input `tokens`, as in decoder.h
enum { WANTED = 1, ALL_INPUTS = 2 };
enum { LOGITS, TOKEN, LOSS, ACTIVE, OUTPUTS };

typedef struct {
  const void *weights;
  void *arena;
  int32_t *tokens;
  const void *inputs[2];
  void *outputs[OUTPUTS];
  uint64_t chunk, active_count;
} machine;

// Tokens at `position`; returns the one that comes next.
static int32_t step(machine *m, const int32_t *tokens, uint64_t position, uint64_t count, int flags, int32_t target) {
  m->tokens[POSITION] = (int32_t)position;
  m->tokens[COUNT] = (int32_t)count;
  m->tokens[FLAGS] = flags;
  m->tokens[TARGET] = target;
  for (uint64_t i = 0; i < count; i++) m->tokens[HEADER + i] = tokens[i];
  switch (model_run(m->weights, m->arena, m->inputs, m->outputs)) {
    case 0: break;
    case ES_NO_ISA: fail("this CPU has none of the instruction sets that ", es_the_model.name, " was compiled for", 0);
    case ES_BAD_TOKENS: fail("a token is none of the model's", "", "", 0);
    default: fail("the model", " failed", "", 0);
  }
  return *(const int32_t *)m->outputs[TOKEN];
}

// The file as read-only memory, whatever its size, which must be whole tokens that the model has: to the model a target
// of -1 is none, and would be foretold for nothing.
static const int32_t *map_tokens(const char *path, uint64_t *count) {
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  if (fd < 0) fail("cannot open ", path, "", fd);
  const int64_t has = sys_file_bytes(fd);
  if (has < 0) fail("cannot read ", path, "", has);
  sys_close(fd);
  if (has == 0 || has % 4) fail("no tokens in ", path, "", 0);
  *count = (uint64_t)has / 4;
  const int32_t *tokens = map_file("input file", path, (uint64_t)has, "");
  const uint64_t vocabulary = es_the_model.outputs[LOGITS].bytes / 4;
  for (uint64_t i = 0; i < *count; i++)
    if (tokens[i] < 0 || (uint64_t)tokens[i] >= vocabulary) fail_token(path, i + 1, tokens[i], vocabulary);
  return tokens;
}

static void write_output(const char *path, const void *from, uint64_t bytes) {
  const char *temporary = temporary_name(path);
  const int64_t file = sys_openat(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) fail("cannot write ", temporary, "", file);
  int64_t error = es_write_all(file, from, bytes);
  sys_close(file);
  if (error >= 0) error = sys_rename(temporary, path);
  if (error < 0) {
    sys_unlink(temporary);
    fail("cannot write ", path, "", error);
  }
}

typedef struct {
  uint64_t count, prompt_ns, decode_ns, decoded, *active;
  const char *stopped;
  int32_t *made;
} result;

static void add_active(const machine *m, result *out) {
  const int32_t *active = m->outputs[ACTIVE];
  for (uint64_t i = 0; i < m->active_count; i++) out->active[i] += (uint64_t)active[i];
  out->decoded++;
}

static int is_stop(const request *r, int32_t token) {
  for (uint32_t i = 0; i < r->stop_count; i++)
    if (r->stops[i] == (uint32_t)token) return 1;
  return 0;
}

static void continue_text(const request *r, machine *m, const int32_t *prompt, uint64_t length, result *out) {
  if (r->positions && length > es_context)
    fail_length(": the prompt has ", length, ": shorten it, or let the oldest tokens be forgotten: --positions 0\n");
  if (r->positions && length > r->positions) fail("the prompt is longer than ", "--positions", "", 0);
  out->made = allocate("tokens", (r->max_tokens + 1) * 4);
  out->stopped = "length";
  uint64_t position = 0, before = sys_clock_ns();
  int32_t token = 0;
  while (position < length) {
    const uint64_t left = length - position, count = left < m->chunk ? left : m->chunk;
    token = step(m, prompt + position, position, count, ALL_INPUTS | (count == left ? WANTED : 0), -1);
    position += count;
  }
  out->prompt_ns = sys_clock_ns() - before;
  before = sys_clock_ns();
  while (out->count < r->max_tokens) {
    if (is_stop(r, token)) {
      out->stopped = "stop";
      break;
    }
    out->made[out->count++] = token;
    if (r->stream) {
      es_put_number(&text, (uint64_t)token);
      es_put(&text, "\n");
      es_flush(&text);
    }
    if (out->count == r->max_tokens) break;
    if (r->positions && position >= r->positions) {
      out->stopped = "context";
      break;
    }
    token = step(m, &token, position++, 1, WANTED | (r->dense ? ALL_INPUTS : 0), -1);
    add_active(m, out);
  }
  out->decode_ns = sys_clock_ns() - before;
  if (r->output) write_output(r->output, out->made, out->count * 4);
}

static void score(const request *r, machine *m, const int32_t *tokens, uint64_t length, result *out) {
  const uint64_t windows = length / r->window, each = r->window - 1;
  if (length % r->window) fail("the input", " is not whole windows of --score tokens", "", 0);
  float *losses = allocate("losses", windows * each * 4);
  const uint64_t before = sys_clock_ns();
  for (uint64_t w = 0; w < windows; w++)
    for (uint64_t i = 0; i < each; i++) {
      const int32_t *here = tokens + w * r->window + i;
      step(m, here, i, 1, WANTED | (r->dense ? ALL_INPUTS : 0), here[1]);
      losses[w * each + i] = *(const float *)m->outputs[LOSS];
      add_active(m, out);
    }
  out->decode_ns = sys_clock_ns() - before;
  out->stopped = "scored";
  if (r->output) write_output(r->output, losses, windows * each * 4);
}

static void put_count(const char *name, uint64_t value) {
  es_put(&text, name);
  es_put_number(&text, value);
}

static void put_result(const request *r, const machine *m, uint64_t length, const result *out) {
  text.fd = 1;
  es_put(&text, "{\"model\": ");
  es_put_json(&text, es_the_model.name);
  es_put(&text, ", \"isa\": ");
  es_put_json(&text, model_isa());
  put_count(", \"threads\": ", r->common.threads);
  put_count(", \"prompt_tokens\": ", length);
  put_count(", \"prompt_ns\": ", out->prompt_ns);
  put_count(", \"decoded\": ", out->decoded);
  put_count(", \"decode_ns\": ", out->decode_ns);
  es_put(&text, ", \"stopped\": ");
  es_put_json(&text, out->stopped);
  es_put(&text, ", \"active\": [");
  for (uint64_t i = 0; i < m->active_count; i++) put_count(i ? ", " : "", out->active[i]);
  es_put(&text, "], \"tokens\": [");
  for (uint64_t i = 0; i < out->count; i++) put_count(i ? ", " : "", (uint64_t)out->made[i]);
  es_put(&text, "]}\n");
}

int es_main(int argc, const char *const *argv) {
  static request r;
  static machine m;
  static result out;
  const es_model *model = &es_the_model;
  parse(argc, argv, &r);
  start_threads(&r.common);
  uint64_t length;
  const int32_t *tokens = map_tokens(r.input, &length);
  m.weights = read_file("weights file", r.common.weights, model->weights_bytes, " (not of this model)");
  m.arena = allocate("arena", model->arena_bytes + (r.common.threads - 1) * model->scratch_bytes);
  m.tokens = allocate("tokens", model->inputs[0].bytes);
  m.tokens[SEED] = (int32_t)r.seed;
  m.inputs[0] = m.tokens, m.inputs[1] = r.sampling;
  for (int i = 0; i < OUTPUTS; i++) m.outputs[i] = allocate("outputs", model->outputs[i].bytes);
  m.chunk = model->inputs[0].bytes / 4 - HEADER;
  m.active_count = model->outputs[ACTIVE].bytes / 4;
  out.active = allocate("counts", m.active_count * 8);
  text.fd = 1;
  if (r.window) score(&r, &m, tokens, length, &out);
  else continue_text(&r, &m, tokens, length, &out);
  if (r.common.json) put_result(&r, &m, length, &out);
  es_flush(&text);
  if (text.failed) fail("cannot write to ", "stdout", "", 0);
  if (!r.common.json && es_same(out.stopped, "context")) {
    text.fd = 2;
    es_put(&text, "ended by a full context: --positions 0 goes on, and forgets the oldest tokens\n");
    es_flush(&text);
  }
  return 0;
}
