// One linear layer, y = weight x + bias, in whatever form its weights are stored, with all of its inputs or with those
// that count. Included by decoder.h, after kernels.h: which forms there is code for depends on the model.
#ifndef ES_LINEAR_H
#define ES_LINEAR_H
#include "parts.h"

enum { ES_F32, ES_F16, ES_QC8, ES_QB4, ES_FORMS };
// By input, in tiles of outputs: a few inputs can be left out. By output: a few outputs can. Interleaved, of 8 or 4 bits:
// for layers that need all. Those blocks that are not zero, of 4 bits: for these, too.
enum { ES_COLUMNS, ES_ROWS, ES_INTERLEAVED, ES_BLOCKS };
#define ES_CASE(layout, form) ((layout) * ES_FORMS + (form))

// Which entries of a vector count: those with |x[i]| > threshold. All offsets are bytes into weights.bin, -1 for none.
typedef struct {
  int64_t threshold;    // floats: one, or with `each` one an entry; -1 without `statistical`: all entries count
  int32_t each;
  int32_t statistical;  // the threshold is mean(|x|) + spread * std(|x|)
  float spread;
  int32_t most;         // where more entries than that count, computing with all of them is faster
} es_rule;

typedef struct es_linear es_linear;
struct es_linear {
  int64_t weight, scale, bias;        // scale: of each output, or of 4 bits of `block` inputs
  int64_t column, start;              // ES_BLOCKS: where blocks are
  int32_t inputs, outputs, form, layout, block;
  int32_t tile;                       // outputs that one thread computes
  es_rule rule;
  const es_linear *narrow, *wide;     // what does not count goes through both, (rank, inputs) and (outputs, rank)
};

// What a thread has of its own: buffers, and what is in them.
typedef struct {
  const char *weights;
  int64_t tokens;          // how many at once
  int32_t sparse;          // rules hold
  int32_t *index;          // (entries): those that count, and
  float *value;            // (entries): their values
  int8_t *q;               // (tokens, pitch): a vector, or `value`, as bytes, groups with
  float *scale;            // (tokens, pitch / group) and
  int32_t *sum;            // (tokens, pitch / group)
  int32_t *start;          // of 4 bits: where in index and q the entries of a block of inputs begin
  const float *quantised;  // the vectors that q holds,
  int32_t group;           // in groups of so many
  float *rest;             // (entries): what does not count
  float *low;              // (rank)
} es_hand;

#define ES_FLOATS(hand, offset) ((offset) < 0 ? (const float *)0 : (const float *)((hand)->weights + (offset)))
static inline int64_t es_padded(int64_t count) { return (count + 31) / 32 * 32; }
static inline int64_t es_tiles(const es_linear *l) { return (l->outputs + l->tile - 1) / l->tile; }
static inline int es_has_rule(const es_rule *rule) { return rule->threshold >= 0 || rule->statistical; }

// The first output of a tile.
static inline int64_t es_first(const es_linear *l, int64_t tile) {
  return tile * l->tile < l->outputs ? tile * l->tile : l->outputs;
}

// q, scale and sum of `x` (tokens, pitch) in groups of 32 or 16, unless they are there.
static void es_as_bytes(es_hand *hand, const float *x, int64_t pitch, int64_t inputs, int32_t group) {
  if (hand->quantised == x && hand->group == group) return;
  const int64_t padded = es_padded(inputs);
  for (int64_t t = 0; t < hand->tokens; t++) {
    int8_t *q = hand->q + t * padded;
    float *scale = hand->scale + t * padded / group;
    int32_t *sum = hand->sum + t * padded / group;
    (void)x, (void)pitch, (void)q, (void)scale, (void)sum;
#ifdef es_quantise_f32
    if (group == 32) es_quantise_f32(x + t * pitch, q, scale, sum, inputs);
#endif
#ifdef es_quantise16_f32
    if (group == 16) es_quantise16_f32(x + t * pitch, q, scale, sum, inputs);
#endif
  }
  hand->quantised = x;
  hand->group = group;
}

// Tiles begin..end-1 of y (tokens, y_pitch) = weight x (tokens, pitch) + bias.
static void es_dense(es_hand *hand, const es_linear *l, const float *x, int64_t pitch, float *y, int64_t y_pitch,
                     int64_t begin, int64_t end) {
  const void *w = hand->weights + l->weight, *scales = hand->weights + l->scale;
  const float *bias = ES_FLOATS(hand, l->bias);
  const int64_t n = l->inputs, m = l->outputs, tile = l->tile, tokens = hand->tokens, padded = es_padded(n);
  const int64_t first = es_first(l, begin), last = es_first(l, end);
  if (l->form >= ES_QC8) es_as_bytes(hand, x, pitch, n, l->layout == ES_BLOCKS ? 16 : 32);
  const int8_t *q = hand->q;
  const float *scale = hand->scale;
  const int32_t *sum = hand->sum;
  (void)scales, (void)q, (void)scale, (void)sum, (void)padded, (void)m, (void)tile, (void)first, (void)last;
  switch (ES_CASE(l->layout, l->form)) {
#ifdef es_columns_f32
    case ES_CASE(ES_COLUMNS, ES_F32):
      if (tokens == 1) es_columns_f32(w, bias, 0, x, y, n, n, m, tile, begin, end);
      else es_columns_many_f32(w, bias, x, y, tokens, pitch, y_pitch, n, m, tile, begin, end);
      break;
#endif
#ifdef es_rows_f32
    case ES_CASE(ES_ROWS, ES_F32):
      if (tokens == 1) es_rows_f32(w, bias, 0, x, y, n, first, last);
      else es_rows_many_f32(w, bias, x, y, tokens, pitch, y_pitch, n, first, last);
      break;
#endif
#ifdef es_columns_f16
    case ES_CASE(ES_COLUMNS, ES_F16):
      if (tokens == 1) es_columns_f16(w, bias, 0, x, y, n, n, m, tile, begin, end);
      else es_columns_many_f16(w, bias, x, y, tokens, pitch, y_pitch, n, m, tile, begin, end);
      break;
#endif
#ifdef es_rows_f16
    case ES_CASE(ES_ROWS, ES_F16):
      if (tokens == 1) es_rows_f16(w, bias, 0, x, y, n, first, last);
      else es_rows_many_f16(w, bias, x, y, tokens, pitch, y_pitch, n, first, last);
      break;
#endif
#ifdef es_columns_qc8
    case ES_CASE(ES_COLUMNS, ES_QC8):
      if (tokens == 1) es_columns_qc8(w, scales, bias, 0, q, scale, sum, y, n, n, m, tile, begin, end);
      else es_columns_many_qc8(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, m, tile, begin, end);
      break;
#endif
#ifdef es_rows_qc8
    case ES_CASE(ES_ROWS, ES_QC8):
      if (tokens == 1) es_rows_qc8(w, scales, bias, 0, q, scale, sum, y, n, first, last);
      else es_rows_many_qc8(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, first, last);
      break;
#endif
#ifdef es_dense_qc8
    case ES_CASE(ES_INTERLEAVED, ES_QC8):
      if (tokens == 1) es_dense_qc8(w, scales, bias, q, scale, sum, y, n, m, begin, end);
      else es_dense_many_qc8(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, m, begin, end);
      break;
#endif
#ifdef es_dense_qb4
    case ES_CASE(ES_INTERLEAVED, ES_QB4):
      if (tokens == 1) es_dense_qb4(w, scales, bias, q, scale, sum, y, n, m, l->block, begin, end);
      else es_dense_many_qb4(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, m, l->block, begin, end);
      break;
#endif
#ifdef es_columns_qb4
    case ES_CASE(ES_COLUMNS, ES_QB4):
      if (tokens == 1) es_columns_qb4(w, scales, bias, 0, 0, q, scale, sum, y, n, m, l->block, begin, end);
      else es_columns_many_qb4(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, m, l->block, begin, end);
      break;
#endif
#ifdef es_rows_qb4
    case ES_CASE(ES_ROWS, ES_QB4):
      if (tokens == 1) es_rows_qb4(w, scales, bias, 0, q, scale, sum, y, n, l->block, first, last);
      else es_rows_many_qb4(w, scales, bias, q, scale, sum, y, tokens, padded, y_pitch, n, l->block, first, last);
      break;
#endif
#ifdef es_blocks_qb4
    case ES_CASE(ES_BLOCKS, ES_QB4): {
      const uint16_t *column = (const void *)(hand->weights + l->column);
      const int32_t *start = (const void *)(hand->weights + l->start);
      if (tokens == 1) es_blocks_qb4(w, scales, column, start, bias, q, scale, sum, y, m, begin, end);
      else es_blocks_many_qb4(w, scales, column, start, bias, q, scale, sum, y, tokens, padded, y_pitch, m, begin, end);
      break;
    }
#endif
    default: break;
  }
}

// The sum of |x[i]|, or with `mean` of (|x[i]| - mean)^2.
static float es_sum(const float *x, int64_t n, const float *mean) {
  typedef float lanes __attribute__((vector_size(64), aligned(4)));
  typedef int32_t bits __attribute__((vector_size(64)));
  lanes sums = {0};
  float sum = 0;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const lanes size = (lanes)((bits) * (const lanes *)(x + i) & INT32_MAX);
    const lanes more = mean ? (size - *mean) * (size - *mean) : size;
    sums += more;
  }
  for (; i < n; i++) {
    const float size = __builtin_fabsf(x[i]);
    sum += mean ? (size - *mean) * (size - *mean) : size;
  }
  for (int k = 0; k < 16; k++) sum += sums[k];
  return sum;
}

// Which entries of x (n) count, and how many these are; -1 where they are too many. With `block`, of 4 bits, index, q,
// scale, sum and start are of these; else index and value.
static int64_t es_choose(es_hand *hand, const es_rule *rule, const float *x, int64_t n, int64_t block) {
  const float *threshold = ES_FLOATS(hand, rule->threshold);
  const int64_t each = !rule->statistical && rule->each;
  float by_spread = 0;
  if (rule->statistical) {
    const float mean = es_sum(x, n, 0) / (float)n, square = es_sum(x, n, &mean) / (float)n;
    by_spread = mean + rule->spread * __builtin_sqrtf(square);
    threshold = &by_spread;
  }
  int32_t count = 0;
  (void)threshold, (void)each, (void)block;
#ifdef es_select_qb4
  if (block) {
    hand->quantised = 0;
    es_select_qb4(x, threshold, hand->index, hand->q, hand->scale, hand->sum, hand->start, &count, n, block, each);
    return count > rule->most ? -1 : count;
  }
#endif
#ifdef es_select_f32
  es_select_f32(x, threshold, hand->index, hand->value, &count, n, each);
#endif
  return count > rule->most ? -1 : count;
}

// Whether bytes of weights come out of memory, not out of a cache.
static inline int es_from_memory(const es_linear *l) { return (int64_t)l->inputs * l->outputs >= 1 << 20; }

// Deals the inputs that count in another order: columns_qc8 reads the rows of ES_SIDE at a time, and each of these is now
// followed by its neighbour of the list, ES_DEALT in a row. What the CPU fetches ahead of a row's end is then what is
// read next, where that neighbour lies behind it: rows of 2048 bytes, half of them skipped, are read 5% faster (Zen 4).
#ifdef es_columns_qc8
static void es_deal(int32_t *index, float *value, int64_t count) {
  enum { ES_SIDE = 16, ES_DEALT = 4, ES_HAND = ES_SIDE * ES_DEALT };
  for (int64_t at = 0; at + ES_HAND <= count; at += ES_HAND) {
    int32_t i[ES_HAND];
    float v[ES_HAND];
    for (int k = 0; k < ES_HAND; k++) i[k] = index[at + k], v[k] = value[at + k];
    for (int turn = 0; turn < ES_DEALT; turn++)
      for (int side = 0; side < ES_SIDE; side++) {
        index[at + turn * ES_SIDE + side] = i[side * ES_DEALT + turn];
        value[at + turn * ES_SIDE + side] = v[side * ES_DEALT + turn];
      }
  }
}
#endif

// Tiles begin..end-1 of y = weight x + bias, with `count` of the inputs that es_choose has found, from `first` on, which
// is 0 but for weights of 8 bits.
static void es_some(es_hand *hand, const es_linear *l, const float *bias, int64_t first, int64_t count, float *y,
                    int64_t begin, int64_t end) {
  const void *w = hand->weights + l->weight, *scales = hand->weights + l->scale;
  const int64_t n = l->inputs, m = l->outputs, tile = l->tile;
  (void)scales, (void)w, (void)bias, (void)first, (void)count, (void)y, (void)begin, (void)end, (void)n, (void)m;
  (void)tile;
  switch (l->form) {
#ifdef es_columns_f32
    case ES_F32: es_columns_f32(w, bias, hand->index, hand->value, y, count, n, m, tile, begin, end); break;
#endif
#ifdef es_columns_f16
    case ES_F16: es_columns_f16(w, bias, hand->index, hand->value, y, count, n, m, tile, begin, end); break;
#endif
#ifdef es_columns_qc8
    case ES_QC8: {
      int32_t *index = hand->index + first;
      hand->quantised = 0;
      if (es_from_memory(l)) es_deal(index, hand->value + first, count);
      es_quantise_f32(hand->value + first, hand->q, hand->scale, hand->sum, count);
      es_columns_qc8(w, scales, bias, index, hand->q, hand->scale, hand->sum, y, count, n, m, tile, begin, end);
      break;
    }
#endif
#ifdef es_columns_qb4
    case ES_QB4:
      es_columns_qb4(w, scales, bias, hand->index, hand->start, hand->q, hand->scale, hand->sum, y, n, m, l->block, begin,
                     end);
      break;
#endif
    default: break;
  }
}

// Whether two threads share the layer by inputs, not by outputs, where it skips some: each reads whole rows then, and of
// half as many. With 50 GB/s for two cores, half of the inputs of TinyLlama's shape took a sixth less time so; with 35 GB/s
// as much (Zen 4). What comes out of a cache is not worth adding up.
static inline int es_halves(const es_linear *l) { return l->form == ES_QC8 && !l->narrow && es_from_memory(l); }

// Where the second half of the inputs that count begins: where a group with a scale of its own does.
static inline int64_t es_half(int64_t count) {
  const int64_t half = (count / 2 + 16) / 32 * 32;
  return half < count ? half : count;
}

// What does not count of x, through the narrow matrix and the wide one: tiles begin..end-1 of y. Every thread computes
// all of the narrow product, so that nobody waits.
static void es_low_rank(es_hand *hand, const es_linear *l, const float *x, int64_t count, float *y, int64_t begin,
                        int64_t end) {
  for (int64_t i = 0; i < l->inputs; i++) hand->rest[i] = x[i];
  if (l->block) {
    // entries that fill a block up are zero, and may be there once more as themselves
    for (int64_t j = 0; j < hand->start[(l->inputs + l->block - 1) / l->block]; j++)
      if (hand->q[j]) hand->rest[hand->index[j]] = 0;
  } else {
    for (int64_t j = 0; j < count; j++) hand->rest[hand->index[j]] = 0;
  }
  hand->quantised = 0;
  es_dense(hand, l->narrow, hand->rest, l->inputs, hand->low, l->narrow->outputs, 0, es_tiles(l->narrow));
  es_dense(hand, l->wide, hand->low, l->wide->inputs, y, l->outputs, begin, end);
  hand->quantised = 0;
}

// How many inputs count under the layer's rule, where it holds; -1 where all of them do.
static int64_t es_counted(es_hand *hand, const es_linear *l, const float *x) {
  if (!hand->sparse || !es_has_rule(&l->rule)) return -1;
  return es_choose(hand, &l->rule, x, l->inputs, l->block);
}

// Tiles begin..end-1 of y (tokens, y_pitch) for x (tokens, pitch), of which `count` entries count.
static void es_apply(es_hand *hand, const es_linear *l, int64_t count, const float *x, int64_t pitch, float *y,
                     int64_t y_pitch, int64_t begin, int64_t end) {
  if (begin >= end) return;
  if (count < 0) {
    es_dense(hand, l, x, pitch, y, y_pitch, begin, end);
  } else if (l->narrow) {
    es_low_rank(hand, l, x, count, y, begin, end);
    if (l->block) es_choose(hand, &l->rule, x, l->inputs, l->block);  // once more: the buffers are the same
    es_some(hand, l, y, 0, count, y, begin, end);  // y in the place of the bias, which `wide` has added
  } else {
    es_some(hand, l, ES_FLOATS(hand, l->bias), 0, count, y, begin, end);
  }
}

// Outputs index[begin..end-1] of y = weight x + bias, of a layer that is stored by output.
static void es_some_rows(es_hand *hand, const es_linear *l, const float *x, float *y, int64_t begin, int64_t end) {
  const void *w = hand->weights + l->weight, *scales = hand->weights + l->scale;
  const float *bias = ES_FLOATS(hand, l->bias);
  if (l->form >= ES_QC8) es_as_bytes(hand, x, l->inputs, l->inputs, 32);
  (void)w, (void)scales, (void)bias, (void)x, (void)y, (void)begin, (void)end;
  switch (l->form) {
#ifdef es_rows_f32
    case ES_F32: es_rows_f32(w, bias, hand->index, x, y, l->inputs, begin, end); break;
#endif
#ifdef es_rows_f16
    case ES_F16: es_rows_f16(w, bias, hand->index, x, y, l->inputs, begin, end); break;
#endif
#ifdef es_rows_qc8
    case ES_QC8:
      es_rows_qc8(w, scales, bias, hand->index, hand->q, hand->scale, hand->sum, y, l->inputs, begin, end);
      break;
#endif
#ifdef es_rows_qb4
    case ES_QB4:
      es_rows_qb4(w, scales, bias, hand->index, hand->q, hand->scale, hand->sum, y, l->inputs, l->block, begin, end);
      break;
#endif
    default: break;
  }
}

// y (inputs) = row `row` of the weights.
static void es_row(const es_hand *hand, const es_linear *l, int64_t row, float *y) {
  const void *w = hand->weights + l->weight, *scales = hand->weights + l->scale;
  (void)scales;
  switch (l->form) {
    case ES_F32:
      for (int64_t i = 0; i < l->inputs; i++) y[i] = ((const float *)w)[row * l->inputs + i];
      break;
#ifdef es_row_f16
    case ES_F16: es_row_f16(w, y, row, l->inputs); break;
#endif
#ifdef es_row_qc8
    case ES_QC8: es_row_qc8(w, scales, y, row, l->inputs); break;
#endif
#ifdef es_row_qb4
    case ES_QB4: es_row_qb4(w, scales, y, row, l->inputs, l->block); break;
#endif
    default: break;
  }
}
#endif
