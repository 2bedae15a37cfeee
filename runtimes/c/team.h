// Threads that meet: pool.c on Linux, pool_wasm.c in WebAssembly. The including file defines, before it includes this,
//
//   es_pause()               tells the CPU that this is a loop that waits
//   es_sleep(word, value)    sleeps until es_wake(word), unless *word is not `value`; may return early
//   es_wake(word)            wakes all that sleep on `word`
//   ES_SPINS                 how often to look before going to sleep: some 100 microseconds
#ifndef ES_TEAM_H
#define ES_TEAM_H
#include "parts.h"

// The words that threads write lie in lines of their own. One arrives after the other, the last one starts the next
// round; who waits looks at `round` alone.
struct es_team {
  _Alignas(64) uint32_t arrived;
  _Alignas(64) uint32_t round;
  uint32_t asleep, parts;
};

// A partner that the system has put aside comes back after milliseconds: spinning for that long would take the core
// from whoever wants it.
void es_team_meet(es_team *team) {
  const uint32_t round = __atomic_load_n(&team->round, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == __atomic_load_n(&team->parts, __ATOMIC_RELAXED)) {
    __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
    // Sequentially consistent, as is what sleepers do: either we see that one is going to sleep, or it sees the round.
    __atomic_store_n(&team->round, round + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&team->asleep, __ATOMIC_SEQ_CST)) es_wake(&team->round);
    return;
  }
  for (int i = 0; i < ES_SPINS; i++) {
    if (__atomic_load_n(&team->round, __ATOMIC_ACQUIRE) != round) return;
    es_pause();
  }
  __atomic_add_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&team->round, __ATOMIC_SEQ_CST) == round) es_sleep(&team->round, round);
  __atomic_sub_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
}
#endif
