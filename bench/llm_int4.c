// Kernels called one after the other on several threads, which meet after each of them, as in a decoder's loop.
#include <stdint.h>

enum { ARGUMENTS = 20, MOST_THREADS = 8 };
typedef uint64_t word;
typedef void (*kernel)(word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                       word, word, word, word);

// Arguments `at` and `at` + 1 are the pieces that a thread does.
typedef struct {
  kernel f;
  word a[ARGUMENTS];
  int64_t at, begin[MOST_THREADS], end[MOST_THREADS];
} call;

#if defined(__x86_64__)
static void pause(void) { __builtin_ia32_pause(); }
#else
static void pause(void) { __asm__ volatile("isb" ::: "memory"); }
#endif

static void meet(int64_t *gate, int64_t turn, int64_t threads) {
  __atomic_add_fetch(gate, 1, __ATOMIC_ACQ_REL);
  while (__atomic_load_n(gate, __ATOMIC_ACQUIRE) < turn * threads) pause();
}

// gate: 0 before. Kernels take their arguments in the same places however many there are.
__attribute__((visibility("default"))) void run(
    const call *calls, int64_t count, int64_t thread, int64_t threads, int64_t *gate) {
  for (int64_t i = 0; i < count; i++) {
    const call *c = calls + i;
    word a[ARGUMENTS];
    for (int j = 0; j < ARGUMENTS; j++) a[j] = c->a[j];
    if (c->at >= 0) a[c->at] = (word)c->begin[thread], a[c->at + 1] = (word)c->end[thread];
    if (c->at >= 0 || thread == 0)
      c->f(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16],
           a[17], a[18], a[19]);
    if (threads > 1) meet(gate, i + 1, threads);
  }
}
