// The threads of model_run on Linux, without a libc: clone() with stacks of our own.
//
// A run is: meet, each its part, meet. Between runs the workers wait at the first meeting, soon asleep.
// With one thread there is no pool, and no thread was ever started.
#include "clone.h"
#include "pool.h"
#include "sys.h"

#if defined(__x86_64__)
enum { ES_SPINS = 3000 };  // a pause takes some 40 ns
static inline void es_pause(void) { __builtin_ia32_pause(); }
#else
enum { ES_SPINS = 10000 };  // an isb takes some 10 ns; a yield takes none on most cores
static inline void es_pause(void) { __asm__ volatile("isb" ::: "memory"); }
#endif
static inline void es_sleep(const uint32_t *word, uint32_t value) { sys_futex(word, FUTEX_WAIT_PRIVATE, value); }
static inline void es_wake(const uint32_t *word) { sys_futex(word, FUTEX_WAKE_PRIVATE, INT32_MAX); }
#include "team.h"

// A page may have 64 kB. columns_qc8 needs 100 kB of the stack, others far less; untouched pages take no memory.
enum { MAX_THREADS = 256, GUARD_BYTES = 65536, STACK_BYTES = 262144 };

typedef struct {
  uint32_t id;  // set by the kernel; zeroed, and its sleepers woken, when the thread has ended
  void *memory;
} worker;

static struct {
  es_team team;
  _Alignas(64) es_job job;
  int stop, threads;  // threads 0, as at the start, is 1
  uint32_t busy;
  int64_t process;
  worker workers[MAX_THREADS];
} pool;

static void work(int64_t part) {
  for (;;) {
    es_team_meet(&pool.team);
    if (pool.stop) return;
    es_job_part(&pool.job, (int)part, pool.threads, &pool.team);  // part 0 returns what they all would
    es_team_meet(&pool.team);
  }
}

int es_pool_run(const es_job *job) {
  if (pool.threads <= 1) return es_job_part(job, 0, 1, NULL);
  if (sys_getpid() != pool.process) return ES_OTHER_PROCESS;
  if (__atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) return ES_BUSY;
  pool.job = *job;
  es_team_meet(&pool.team);
  const int result = es_job_part(job, 0, pool.threads, &pool.team);
  es_team_meet(&pool.team);
  __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
  return result;
}

// Ends workers 1..threads-1, of which `started` exist.
static void stop(int started) {
  if (started > 1) {
    __atomic_store_n(&pool.team.parts, (uint32_t)started, __ATOMIC_RELAXED);
    pool.stop = 1;
    es_team_meet(&pool.team);
  }
  for (int i = 1; i < started; i++) {
    uint32_t id;
    // the kernel wakes what sleeps on it as other processes do, too, so that this is not a private one
    while ((id = __atomic_load_n(&pool.workers[i].id, __ATOMIC_ACQUIRE)) != 0)
      sys_futex(&pool.workers[i].id, FUTEX_WAIT, id);
    sys_munmap(pool.workers[i].memory, GUARD_BYTES + STACK_BYTES);
  }
  pool.team = (es_team){0};
  pool.stop = pool.threads = 0;
}

static int start_worker(int i) {
  worker *w = &pool.workers[i];
  const int64_t memory =
      sys_mmap(GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1);
  if (memory < 0 && memory > -4096) return 0;
  w->memory = (void *)memory;
  if (sys_mprotect(w->memory, GUARD_BYTES, PROT_NONE) < 0 ||
      es_clone(THREAD_FLAGS, (char *)w->memory + GUARD_BYTES + STACK_BYTES, &w->id, work, i) < 0) {
    sys_munmap(w->memory, GUARD_BYTES + STACK_BYTES);
    return 0;
  }
  return 1;
}

int model_threads(int n) {
  if (n < 1 || n > MAX_THREADS) return ES_BAD_THREADS;
  if (pool.threads > 1 && sys_getpid() != pool.process) {
    // only copies of their stacks came along
    for (int i = 1; i < pool.threads; i++) sys_munmap(pool.workers[i].memory, GUARD_BYTES + STACK_BYTES);
    pool.threads = pool.busy = 0;
    pool.team = (es_team){0};
  }
  if (n > 1 && n > sys_cpu_count()) return ES_TOO_FEW_CPUS;
  if (n == 1 ? pool.threads <= 1 : n == pool.threads) return 0;
  if (__atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) return ES_BUSY;
  stop(pool.threads);
  int started = 1;
  if (n > 1) {
    pool.process = sys_getpid();
    pool.threads = n;
    pool.team.parts = (uint32_t)n;
    // Workers take no signals: they inherit this mask.
    const uint64_t all = ~(uint64_t)0;
    uint64_t before = 0;
    sys_signal_mask(&all, &before);
    while (started < n && start_worker(started)) started++;
    sys_signal_mask(&before, NULL);
    if (started < n) stop(started);
  }
  __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
  return started == n ? 0 : ES_NO_THREAD;
}

int model_thread_id(int i) { return i >= 1 && i < pool.threads ? (int)pool.workers[i].id : -1; }
