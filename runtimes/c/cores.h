// The big ones of a machine with several kinds of cores: arm64 Linux says how much work each can do, 1024 the most.
#ifndef ES_CORES_H
#define ES_CORES_H
#include "sys.h"

enum { ES_CPUS = 1024 };

// 0 where Linux does not say.
static int64_t es_cpu_capacity(uint32_t cpu) {
  char path[64] = "/sys/devices/system/cpu/cpu", digits[16];
  int at = 27, n = 0;
  do digits[n++] = (char)('0' + cpu % 10);
  while ((cpu /= 10) != 0);
  while (n) path[at++] = digits[--n];
  for (const char *rest = "/cpu_capacity"; (path[at] = *rest) != 0; rest++) at++;
  char text[16];
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  if (fd < 0) return 0;
  const int64_t bytes = sys_read(fd, text, sizeof text);
  sys_close(fd);
  int64_t capacity = 0;
  for (int64_t i = 0; i < bytes && text[i] >= '0' && text[i] <= '9'; i++) capacity = capacity * 10 + text[i] - '0';
  return capacity;
}

// The `count` biggest of the CPUs that the calling thread may use, or the smallest. Returns 0, and chooses none, where
// all are the same.
static int es_sized_cpus(uint32_t *cpus, uint64_t count, int smallest) {
  static int16_t capacity[ES_CPUS];  // and -1 where it may not run
  uint64_t mask[ES_CPUS / 64] = {0};
  if (sys_call(SYS_sched_getaffinity, 0, sizeof mask, (int64_t)mask, 0, 0, 0) < 0) return 0;
  int16_t least = INT16_MAX, most = 0;
  for (uint32_t cpu = 0; cpu < ES_CPUS; cpu++) {
    capacity[cpu] = -1;
    if (!(mask[cpu / 64] >> cpu % 64 & 1)) continue;
    const int64_t found = es_cpu_capacity(cpu);
    capacity[cpu] = (int16_t)(found < INT16_MAX ? found : INT16_MAX - 1);
    if (capacity[cpu] < least) least = capacity[cpu];
    if (capacity[cpu] > most) most = capacity[cpu];
  }
  if (least == most) return 0;
  for (uint32_t cpu = 0; smallest && cpu < ES_CPUS; cpu++)
    if (capacity[cpu] >= 0) capacity[cpu] = (int16_t)(most - capacity[cpu]);
  for (uint64_t i = 0; i < count; i++) {
    uint32_t best = 0;
    for (uint32_t cpu = 1; cpu < ES_CPUS; cpu++)
      if (capacity[cpu] > capacity[best]) best = cpu;
    if (capacity[best] < 0) return 0;  // more threads than CPUs: refused elsewhere
    cpus[i] = best;
    capacity[best] = -1;
  }
  return 1;
}
#endif
