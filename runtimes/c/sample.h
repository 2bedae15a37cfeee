// The next token: the likeliest, or one by chance. What chance decides depends on the seed and the position alone, so
// that a text is the same however it was computed.
#ifndef ES_SAMPLE_H
#define ES_SAMPLE_H
#include <stdint.h>

// splitmix64's finaliser, one to one: every bit of x bears upon every bit that comes out.
static uint64_t es_mixed(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// A number in [0, 1), the same for the same seed and position (< 2^32). Each has bits of its own, and what mixes them is
// one to one, so that no two pairs share a state; twice, as neighbours differ in a bit or two.
static float es_chance(uint32_t seed, uint64_t position) {
  const uint64_t once = es_mixed((uint64_t)seed << 32 | position);
  return (float)(es_mixed(once + 0x9e3779b97f4a7c15u) >> 40) * 0x1p-24f;
}

// -log(softmax(logits)[target]); chances: (count), overwritten.
static float es_loss(const float *logits, float *chances, int64_t count, int64_t target) {
  es_softmax_f32(logits, chances, 0, 1, count, 1, 1);
  return -chances[target];
}

// Of the heap order[0..count-1], the largest chance first, puts entry i in its place. Of equal ones the first is larger.
static void es_sift(const float *chances, int32_t *order, int64_t count, int64_t i) {
  for (;;) {
    int64_t best = i;
    for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++) {
      const float more = chances[order[child]] - chances[order[best]];
      if (more > 0 || (more == 0 && order[child] < order[best])) best = child;
    }
    if (best == i) return;
    const int32_t moved = order[i];
    order[i] = order[best], order[best] = moved;
    i = best;
  }
}

// The likeliest token where temperature is 0, the first of them; else one by the chances of softmax(logits /
// temperature), among the likeliest that together have top_p. chances, order: (count), overwritten.
static int32_t es_sample(const float *logits, float *chances, int32_t *order, int64_t count, float temperature, float top_p,
                         uint32_t seed, uint64_t position) {
  int32_t best = 0;
  if (!(temperature > 0)) {
    for (int32_t i = 1; i < count; i++)
      if (logits[i] > logits[best]) best = i;
    return best;
  }
  for (int32_t i = 1; i < count; i++)
    if (logits[i] > logits[best]) best = i;
  // the largest becomes 0: nothing is infinite, however small the temperature
  const float most = logits[best];
  for (int64_t i = 0; i < count; i++) chances[i] = (logits[i] - most) / temperature;
  es_softmax_f32(chances, chances, 0, 1, count, 1, 0);
  float all = 1;
  int64_t kept = count;
  if (top_p < 1) {
    // the likeliest come off a heap until they are enough; order[kept..] has them, the likeliest last
    for (int64_t i = 0; i < count; i++) order[i] = (int32_t)i;
    for (int64_t i = count / 2 - 1; i >= 0; i--) es_sift(chances, order, count, i);
    all = 0;
    while (kept > 0 && all < top_p) {
      const int32_t next = order[0];
      all += chances[next];
      order[0] = order[--kept], order[kept] = next;
      es_sift(chances, order, kept, 0);
    }
    float left = es_chance(seed, position) * all;
    for (int64_t i = count - 1; i >= kept; i--) {
      best = order[i];
      left -= chances[best];
      if (left < 0) break;
    }
    return best;
  }
  float left = es_chance(seed, position) * all;
  for (int32_t i = 0; i < count; i++) {
    if (chances[i] > 0) best = i;
    left -= chances[i];
    if (left < 0) break;
  }
  return best;
}
#endif
