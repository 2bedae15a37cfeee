// How the calls of a model are divided among threads. Each thread goes through the same list of calls and does its
// part of every one; where a call needs what another thread has done, they meet first.
#ifndef ES_PARTS_H
#define ES_PARTS_H
#include <stdint.h>

typedef struct es_team es_team;

// Returns when every thread of the team has come here. Without a team there is nobody to wait for.
#ifdef ES_ONE_THREAD
static inline void es_meet(es_team *team) { (void)team; }
#else
#pragma GCC visibility push(hidden)
void es_team_meet(es_team *team);
#pragma GCC visibility pop
static inline void es_meet(es_team *team) {
  if (team) es_team_meet(team);
}
#endif

typedef struct {
  int64_t begin, end;
} es_range;

// 1: part 0 does all of a call that cannot be divided.
static inline int es_alone(int part) { return part == 0; }

// Items begin..end-1 of `count` are those of this part. Returns 0 when there are none.
static inline int es_evenly(es_range *r, int64_t count, int part, int parts) {
  r->begin = count * part / parts, r->end = count * (part + 1) / parts;
  return r->begin < r->end;
}

// A block costs what it keeps, and as much as ES_BLOCK_COST kept entries for its bias, its activation and its stores.
enum { ES_BLOCK_COST = 4 };

// The first block of a part: the cut nearest to where the cost of all `blocks` is divided evenly.
__attribute__((noinline, unused)) static int64_t es_cut(const int32_t *start, int64_t blocks, int part, int parts) {
  const int64_t all = start[blocks] + blocks * ES_BLOCK_COST, even = all * part / parts;
  int64_t low = 0, high = blocks;  // cost before low <= even <= cost before high
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (start[middle] + middle * ES_BLOCK_COST <= even) low = middle;
    else high = middle;
  }
  const int64_t before = even - (start[low] + low * ES_BLOCK_COST), after = start[high] + high * ES_BLOCK_COST - even;
  return before <= after ? low : high;
}

// As es_evenly, for blocks of weights: start (blocks + 1) says where the kept entries of each block begin. No part
// costs more than one block beside its even share.
static inline int es_by_weights(es_range *r, const int32_t *start, int64_t blocks, int part, int parts) {
  r->begin = 0, r->end = blocks;
  if (parts > 1) r->begin = es_cut(start, blocks, part, parts), r->end = es_cut(start, blocks, part + 1, parts);
  return r->begin < r->end;
}
#endif
