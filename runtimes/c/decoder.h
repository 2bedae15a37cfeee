// A language model: the loop over its layers, for one token or for a few at once. model.c has its tables, and includes
// this; it is compiled once for every instruction set.
//
// Every thread runs the loop. Matrices are divided among them, by tiles of outputs, or by inputs where these are chosen;
// small vectors each thread computes for itself, which is sooner done than waited for. They meet where one needs what
// others have computed.
//
// Shapes: tokens x dim is written (tokens, dim). The caches of keys and values are rings: position p of a sequence is in
// row p % rows, so that with a window, or where the context is full, the oldest position makes room. Keys are rotated
// when they come in, and a softmax does not ask in which order its terms come.
#ifndef ES_DECODER_H
#define ES_DECODER_H
#include "linear.h"
#include "model_info.h"
#include "rotation.h"
#include "sample.h"

// The input `tokens`, integers: these, then the tokens.
enum { ES_POSITION, ES_COUNT, ES_FLAGS, ES_TARGET, ES_SEED, ES_HEADER };
enum {
  ES_WANTED = 1,      // logits of the last token, and what is made of them
  ES_ALL_INPUTS = 2,  // no rule holds: the tokens of a prompt
};
enum { ES_TEMPERATURE, ES_TOP_P };        // the input `sampling`, floats
enum { ES_TOKENS, ES_SAMPLING };          // inputs
enum { ES_LOGITS, ES_TOKEN, ES_LOSS, ES_ACTIVE };  // outputs
enum { ES_SITE_Q, ES_SITE_K, ES_SITE_V, ES_SITE_O, ES_SITE_GATE, ES_SITE_UP, ES_SITE_DOWN, ES_SITES };

typedef struct {
  int64_t attention_norm, mlp_norm;                                    // (dim)
  int64_t q_norm, k_norm, post_attention_norm, post_mlp_norm;          // (head_dim), (dim); -1 without
  es_linear q, k, v, o, gate, up, down;                                // inputs 0: there is no gate
  es_rule neurons;                                                     // of the activated gate
  int64_t keys, values;                                                // bytes into the arena: (kv_heads, rows, head_dim)
  int32_t rows;
  int32_t predictor;                                                   // entries that gate reads, up the others; or 0
} es_block;

// Where buffers are, in bytes. Those of a thread come behind each other, floats: (chunk, dim) twice, and so on.
typedef struct {
  int64_t queries, heads, y, gate, half, order, chances;               // into the arena: of all threads
  int64_t own;                                                         // into the arena: what is the first thread's
  int64_t x, h, index, value, q, scale, sum, start, rest, low, scores, turn;  // into what is a thread's own
} es_places;

typedef struct {
  int32_t blocks, dim, hidden, heads, kv_heads, head_dim, rotary, interleaved, vocabulary, chunk;
  int32_t dense_positions, activation;                                 // activation: a number of activation_f32.h
  float eps, attention_scale, attention_cap, logit_cap, embedding_scale;
  int64_t frequencies, final_norm;                                     // doubles (rotary / 2); (dim)
  es_linear embedding, head;                                           // (vocabulary, dim)
  es_places at;
} es_network;

typedef struct {
  const es_network *net;
  char *arena;
  int part, parts;
  es_team *team;
  int64_t position, tokens;
  es_hand hand;
  float *x, *h;                           // (tokens, dim): the sum of all layers so far, and what a layer reads
  float *scores;                          // (heads that es_attend_f32 computes at once, positions)
  float *turn;                            // (tokens, 2, rotary / 2): cosines and sines
  float *queries, *keys, *values;         // side by side, (tokens, (heads + 2 kv_heads) * head_dim) in all
  float *gate, *up;                       // side by side, (tokens, 2 hidden) in all
  float *heads, *y;                       // (tokens, heads * head_dim), (tokens, dim)
  float *half;                            // of one token, what the second halves of the inputs give
} es_run;

static inline int64_t es_qkv(const es_network *n) { return (int64_t)(n->heads + 2 * n->kv_heads) * n->head_dim; }

static inline void es_copy(const float *from, float *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

// y = x / sqrt(mean(x x) + eps) * gain, of each row of x (rows, n); y may be x.
static void es_norm(const es_run *r, int64_t gain, const float *x, float *y, int64_t begin, int64_t end, int64_t n) {
  es_norm_f32(x, ES_FLOATS(&r->hand, gain), 0, y, begin, end, n, 1, 1, 1, r->net->eps, 0);
}

// x += y, or the norm of y.
static void es_add(es_run *r, int64_t norm) {
  const int64_t dim = r->net->dim, size = r->tokens * dim;
  const float *y = r->y;
  if (norm >= 0) {
    es_norm(r, norm, y, r->h, 0, r->tokens, dim);
    y = r->h;
  }
  for (int64_t i = 0; i < size; i++) r->x[i] += y[i];
}

// y = weight x + bias of one token, with the `count` inputs that count, in two halves, of which the second one comes into
// `half` and is added when threads have met. Of an even number of threads each computes one of them: from whole rows
// where they are two. The halves are the same for any number, and so is the sum.
static void es_by_halves(es_run *r, const es_linear *l, int64_t count, float *y, float *half) {
  const int both = r->parts % 2, each = both ? 1 : 2;
  const int64_t first = es_half(count);
  es_range own;
  if (!es_evenly(&own, es_tiles(l), r->part / each, r->parts / each)) return;
  if (both || r->part % 2 == 0)
    es_some(&r->hand, l, ES_FLOATS(&r->hand, l->bias), 0, first, y, own.begin, own.end);
  if (both || r->part % 2 == 1) es_some(&r->hand, l, 0, first, count - first, half, own.begin, own.end);
}

// This thread's outputs of y (outputs) += half (outputs).
static void es_add_half(const es_run *r, const es_linear *l, float *y, const float *half) {
  es_range own;
  es_evenly(&own, (l->outputs + 15) / 16, r->part, r->parts);
  const int64_t end = own.end * 16 < l->outputs ? own.end * 16 : l->outputs;
  for (int64_t i = own.begin * 16; i < end; i++) y[i] += half[i];
}

// This thread's part of a few layers that read the same, x (tokens, x_pitch) -> y (tokens, y_pitch) of each of them, side
// by side. A layer without outputs of its own is stored with the one before it, which computes both. What counts is the
// same then, and said by the same thread: others would read it before it is there.
static void es_layers(es_run *r, int count, const es_linear *const *layers, const float *x, int64_t x_pitch,
                      float *const *y, int64_t y_pitch, int32_t *active) {
  int64_t tiles = 0, before = 0;
  int says = 0, halves = 0;  // whether this thread says what counts; which layers are computed by halves
  es_range all, own;
  for (int i = 0; i < count; i++) tiles += es_tiles(layers[i]);
  es_evenly(&all, tiles, r->part, r->parts);
  r->hand.quantised = 0;
  for (int i = 0; i < count; i++, before += tiles) {
    const es_linear *l = layers[i];
    tiles = es_tiles(l);
    own.begin = all.begin > before ? all.begin - before : 0;
    own.end = all.end - before < tiles ? all.end - before : tiles;
    if (tiles) {
      says = own.begin == 0 && own.end > 0;
      if (own.begin >= own.end && !es_halves(l)) continue;
      const int64_t some = es_counted(&r->hand, l, x);
      if (some >= 0 && es_halves(l)) {
        says = r->part == 0, halves |= 1 << i;
        es_by_halves(r, l, some, y[i], r->half + (y[i] - y[0]));
      } else {
        es_apply(&r->hand, l, some, x, x_pitch, y[i], y_pitch, own.begin, own.end);
      }
      if (says) active[i] = (int32_t)(some < 0 ? l->inputs : some);
    } else if (says) {
      active[i] = active[i - 1];
    }
  }
  if (halves) es_meet(r->team);
  for (int i = 0; i < count; i++)
    if (halves >> i & 1) es_add_half(r, layers[i], y[i], r->half + (y[i] - y[0]));
}

// heads = softmax(q . k * scale) v, token by token: a token sees those before it in the same chunk, and the last of a
// ring must not be there before its time. Heads that share keys are one thread's.
static void es_attention(es_run *r, const es_block *b) {
  const es_network *n = r->net;
  const int64_t size = n->head_dim, group = n->heads / n->kv_heads, half = n->rotary / 2;
  float *keys = (float *)(r->arena + b->keys), *values = (float *)(r->arena + b->values);
  es_range kv;
  if (!es_evenly(&kv, n->kv_heads, r->part, r->parts)) return;
  for (int64_t t = 0; t < r->tokens; t++) {
    float *q = r->queries + t * es_qkv(n), *k = r->keys + t * es_qkv(n);
    const float *v = r->values + t * es_qkv(n), *turn = r->turn + t * 2 * half;
    const int64_t seen = r->position + t + 1, row = (seen - 1) % b->rows;
    if (b->q_norm >= 0) es_norm(r, b->q_norm, q, q, kv.begin * group, kv.end * group, size);
    if (b->k_norm >= 0) es_norm(r, b->k_norm, k, k, kv.begin, kv.end, size);
    es_rope_f32(q, turn, turn + half, q, kv.begin * group, kv.end * group, size, n->rotary, n->interleaved);
    es_rope_f32(k, turn, turn + half, k, kv.begin, kv.end, size, n->rotary, n->interleaved);
    for (int64_t head = kv.begin; head < kv.end; head++) {
      es_copy(k + head * size, keys + (head * b->rows + row) * size, size);
      es_copy(v + head * size, values + (head * b->rows + row) * size, size);
    }
    es_attend_f32(q, keys, values, r->heads + t * n->heads * size, r->scores, kv.begin * group, kv.end * group, group, size,
                  b->rows, 0, seen < b->rows ? seen : b->rows, n->attention_scale, n->attention_cap);
  }
}

// Neurons begin..end-1 are this thread's, whole tiles of gate and up. Returns 0 when there are none.
static int es_own_neurons(const es_run *r, const es_block *b, es_range *own) {
  const int64_t tile = b->gate.inputs && b->gate.tile > b->up.tile ? b->gate.tile : b->up.tile, hidden = r->net->hidden;
  if (!es_evenly(own, (hidden + tile - 1) / tile, r->part, r->parts)) return 0;
  own->begin *= tile, own->end *= tile;
  if (own->end > hidden) own->end = hidden;
  return 1;
}

// These outputs of gate or up.
static void es_neurons(es_run *r, const es_linear *l, const float *x, float *y, es_range own, int32_t *active) {
  const int64_t begin = own.begin / l->tile, end = (own.end + l->tile - 1) / l->tile, count = es_counted(&r->hand, l, x);
  if (begin == 0) *active = (int32_t)(count < 0 ? l->inputs : count);
  es_apply(&r->hand, l, count, x, r->net->dim, y, 2 * r->net->hidden, begin, end);
}

// up = act(gate h) * (up h), (tokens, hidden); without a gate act(up h).
static void es_hidden(es_run *r, const es_block *b, int32_t *active) {
  const es_linear *gate = b->gate.inputs ? &b->gate : 0;
  const int64_t hidden = r->net->hidden;
  es_range own;
  const int together = !b->up.outputs, mine = es_own_neurons(r, b, &own);
  if (together) {
    es_layers(r, 2, (const es_linear *const[]){gate, &b->up}, r->h, r->net->dim, (float *const[]){r->gate, r->up},
              2 * hidden, active + ES_SITE_GATE);
    es_meet(r->team);
  }
  if (!mine) return;
  if (!together) {
    r->hand.quantised = 0;
    if (gate) es_neurons(r, gate, r->h, r->gate, own, active + ES_SITE_GATE);
    if (b->predictor) r->hand.quantised = 0;
    es_neurons(r, &b->up, r->h + b->predictor, r->up, own, active + ES_SITE_UP);
  }
  const int64_t first = own.begin, count = own.end - own.begin;
  for (int64_t t = 0; t < r->tokens; t++) {
    float *g = r->gate + t * 2 * hidden + first, *u = r->up + t * 2 * hidden + first;
    es_gated_f32(gate ? g : u, gate ? u : 0, 0, u, 0, (count + 63) / 64, count, r->net->activation);
  }
}

// Of 4 bits, inputs are chosen by block: from a vector that is zero where none of the `count` values is.
static void es_spread(es_hand *hand, const es_linear *down, int64_t count) {
  for (int64_t i = 0; i < down->inputs; i++) hand->rest[i] = 0;
  for (int64_t j = 0; j < count; j++) hand->rest[hand->index[j]] = hand->value[j];
#ifdef es_select_qb4
  static const float zero = 0;
  int32_t found;
  hand->quantised = 0;
  es_select_qb4(hand->rest, &zero, hand->index, hand->q, hand->scale, hand->sum, hand->start, &found, down->inputs,
                down->block, 0);
#endif
}

// y = down (act(gate h) * (up h)) for one token, where only neurons whose activated gate is large count: rows of up, and
// inputs of down. Returns 0, and has computed the gate alone, where too many of them count.
static int es_few_neurons(es_run *r, const es_block *b, int32_t *active) {
  es_hand *hand = &r->hand;
  es_range own;
  hand->quantised = 0;
  if (es_own_neurons(r, b, &own)) {
    es_neurons(r, &b->gate, r->h, r->gate, own, active + ES_SITE_GATE);
    float *g = r->gate + own.begin;
    const int64_t size = own.end - own.begin;
    es_gated_f32(g, 0, 0, g, 0, (size + 63) / 64, size, r->net->activation);
  }
  es_meet(r->team);
  const int64_t count = es_choose(hand, &b->neurons, r->gate, r->net->hidden, 0);
  if (count < 0) return 0;
  if (b->predictor) hand->quantised = 0;
  if (es_evenly(&own, count, r->part, r->parts))
    es_some_rows(hand, &b->up, r->h + b->predictor, r->up, own.begin, own.end);
  es_meet(r->team);
  es_gated_f32(hand->value, r->up, hand->index, hand->value, 0, (count + 63) / 64, count, 0);
  if (b->down.block) es_spread(hand, &b->down, count);
  if (es_halves(&b->down)) {
    es_by_halves(r, &b->down, count, r->y, r->half);
    es_meet(r->team);
    es_add_half(r, &b->down, r->y, r->half);
  } else if (es_evenly(&own, es_tiles(&b->down), r->part, r->parts)) {
    es_some(hand, &b->down, ES_FLOATS(hand, b->down.bias), 0, count, r->y, own.begin, own.end);
  }
  if (r->part == 0) active[ES_SITE_UP] = active[ES_SITE_DOWN] = (int32_t)count;
  return 1;
}

// up = gate * (up h) for one token, where `gate` has been activated. Others may still read `gate`.
static void es_times_up(es_run *r, const es_block *b, int32_t *active) {
  es_range own;
  r->hand.quantised = 0;
  if (!es_own_neurons(r, b, &own)) return;
  es_neurons(r, &b->up, r->h + b->predictor, r->up, own, active + ES_SITE_UP);
  const int64_t size = own.end - own.begin;
  es_gated_f32(r->gate + own.begin, r->up + own.begin, 0, r->up + own.begin, 0, (size + 63) / 64, size, 0);
}

// x (tokens, dim) through one block; active (ES_SITES).
static void es_one_block(es_run *r, const es_block *b, int32_t *active) {
  const es_network *n = r->net;
  const int64_t dim = n->dim;
  es_norm(r, b->attention_norm, r->x, r->h, 0, r->tokens, dim);
  es_layers(r, 3, (const es_linear *const[]){&b->q, &b->k, &b->v}, r->h, dim,
            (float *const[]){r->queries, r->keys, r->values}, es_qkv(n), active);
  es_meet(r->team);
  es_attention(r, b);
  es_meet(r->team);
  es_layers(r, 1, (const es_linear *const[]){&b->o}, r->heads, b->o.inputs, (float *const[]){r->y}, dim,
            active + ES_SITE_O);
  es_meet(r->team);
  es_add(r, b->post_attention_norm);

  es_norm(r, b->mlp_norm, r->x, r->h, 0, r->tokens, dim);
  const int few = r->hand.sparse && es_has_rule(&b->neurons);
  if (!few || !es_few_neurons(r, b, active)) {
    if (few) es_times_up(r, b, active);
    else es_hidden(r, b, active);
    es_meet(r->team);
    es_layers(r, 1, (const es_linear *const[]){&b->down}, r->up, 2 * n->hidden, (float *const[]){r->y}, dim,
              active + ES_SITE_DOWN);
  }
  es_meet(r->team);
  es_add(r, b->post_mlp_norm);
}

// Rows of the embedding, (tokens, dim).
static void es_embed(es_run *r, const int32_t *tokens) {
  const es_network *n = r->net;
  for (int64_t t = 0; t < r->tokens; t++) {
    float *x = r->x + t * n->dim;
    es_row(&r->hand, &n->embedding, tokens[t], x);
    for (int64_t i = 0; i < n->dim; i++) x[i] *= n->embedding_scale;
  }
}

// logits (vocabulary) of the last token.
static void es_logits(es_run *r, float *logits) {
  const es_network *n = r->net;
  es_range own;
  es_norm(r, n->final_norm, r->x + (r->tokens - 1) * n->dim, r->h, 0, 1, n->dim);
  r->hand.quantised = 0;
  r->hand.tokens = 1;
  if (!es_evenly(&own, es_tiles(&n->head), r->part, r->parts)) return;
  es_dense(&r->hand, &n->head, r->h, n->dim, logits, n->vocabulary, own.begin, own.end);
#ifdef es_activation_f32
  if (n->logit_cap != 0) {
    const int64_t first = es_first(&n->head, own.begin), count = es_first(&n->head, own.end) - first;
    float *part = logits + first;
    enum { TANH = 9 };
    for (int64_t i = 0; i < count; i++) part[i] /= n->logit_cap;
    es_activation_f32(part, part, 0, (count + 63) / 64, count, TANH, 0, 0);
    for (int64_t i = 0; i < count; i++) part[i] *= n->logit_cap;
  }
#endif
}

static int es_decode(const es_network *n, const es_block *blocks, int part, int parts, es_team *team, const char *weights,
                     char *arena, char *own, const void *const *inputs, void *const *outputs) {
  const int32_t *header = inputs[ES_TOKENS], *tokens = header + ES_HEADER;
  const es_places *at = &n->at;
  if (header[ES_COUNT] < 1 || header[ES_COUNT] > n->chunk || header[ES_POSITION] < 0) return ES_BAD_TOKENS;
  for (int i = 0; i < header[ES_COUNT]; i++)
    if (tokens[i] < 0 || tokens[i] >= n->vocabulary) return ES_BAD_TOKENS;
  if (header[ES_TARGET] >= n->vocabulary) return ES_BAD_TOKENS;
  es_run r = {
      .net = n, .arena = arena, .part = part, .parts = parts, .team = team,
      .position = header[ES_POSITION], .tokens = header[ES_COUNT],
      .x = (float *)(own + at->x), .h = (float *)(own + at->h),
      .scores = (float *)(own + at->scores), .turn = (float *)(own + at->turn),
      .queries = (float *)(arena + at->queries), .gate = (float *)(arena + at->gate),
      .heads = (float *)(arena + at->heads), .y = (float *)(arena + at->y), .half = (float *)(arena + at->half),
  };
  r.keys = r.queries + (int64_t)n->heads * n->head_dim;
  r.values = r.keys + (int64_t)n->kv_heads * n->head_dim;
  r.up = r.gate + n->hidden;
  r.hand = (es_hand){
      .weights = weights, .tokens = r.tokens, .index = (int32_t *)(own + at->index), .value = (float *)(own + at->value),
      .q = (int8_t *)(own + at->q), .scale = (float *)(own + at->scale), .sum = (int32_t *)(own + at->sum),
      .start = (int32_t *)(own + at->start),
      .rest = (float *)(own + at->rest), .low = (float *)(own + at->low),
  };
  r.hand.sparse = r.tokens == 1 && r.position >= n->dense_positions && !(header[ES_FLAGS] & ES_ALL_INPUTS);

  es_embed(&r, tokens);
  for (int64_t t = 0; t < r.tokens; t++)
    es_turns((const double *)(weights + n->frequencies), n->rotary / 2, r.position + t, r.turn + t * n->rotary);
  int32_t *active = outputs[ES_ACTIVE];
  for (int i = 0; i < n->blocks; i++) es_one_block(&r, blocks + i, active + i * ES_SITES);
  if (!(header[ES_FLAGS] & ES_WANTED)) return 0;

  float *logits = outputs[ES_LOGITS];
  es_logits(&r, logits);
  es_meet(team);
  if (part != 0) return 0;
  const float *sampling = inputs[ES_SAMPLING];
  float *chances = (float *)(arena + at->chances);
  *(float *)outputs[ES_LOSS] = header[ES_TARGET] < 0 ? 0 : es_loss(logits, chances, n->vocabulary, header[ES_TARGET]);
  *(int32_t *)outputs[ES_TOKEN] =
      es_sample(logits, chances, (int32_t *)(arena + at->order), n->vocabulary, sampling[ES_TEMPERATURE],
                sampling[ES_TOP_P], (uint32_t)header[ES_SEED], (uint64_t)(r.position + r.tokens));
  return 0;
}
#endif
