// What an arm64 CPU has beyond ARMv8.0, as Linux tells it, with or without a libc around us.
#include "isa.h"
#include "sys.h"

enum { AT_HWCAP = 16, AT_PAIRS = 64 };

// In the program that is start.c's, in a process with a libc the libc's; else there is none.
#pragma GCC visibility push(default)
unsigned long getauxval(unsigned long type) __attribute__((weak));
#pragma GCC visibility pop

// The same from the file that Linux has for it; 0 where it may not be read: then the kernels for ARMv8.0 run.
static uint64_t from_file(uint64_t type) {
  uint64_t pairs[2 * AT_PAIRS] = {0};
  const int64_t fd = sys_openat("/proc/self/auxv", O_RDONLY, 0);
  if (fd < 0) return 0;
  const int64_t bytes = sys_read(fd, pairs, sizeof pairs);
  sys_close(fd);
  for (int64_t i = 0; i + 1 < bytes / 8 && pairs[i] != 0; i += 2)
    if (pairs[i] == type) return pairs[i + 1];
  return 0;
}

uint64_t es_hwcap(void) { return getauxval ? getauxval(AT_HWCAP) : from_file(AT_HWCAP); }
