// Linux system calls for programs without a libc: aarch64 and x86_64, where the numbers differ
// and the structures used here are the same. Every call returns a negative errno on failure.
#ifndef ES_SYS_H
#define ES_SYS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__aarch64__)
enum {
  SYS_unlinkat = 35, SYS_renameat = 38, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64,
  SYS_fstat = 80, SYS_exit_group = 94, SYS_futex = 98, SYS_clock_gettime = 113, SYS_sched_setaffinity = 122,
  SYS_sched_getaffinity = 123, SYS_rt_sigprocmask = 135, SYS_getpid = 172, SYS_munmap = 215, SYS_mmap = 222,
  SYS_mprotect = 226, SYS_madvise = 233, SYS_perf_event_open = 241,
};
static inline int64_t sys_call(int64_t n, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
  register int64_t x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register int64_t x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}
#elif defined(__x86_64__)
enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_fstat = 5, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11,
  SYS_rt_sigprocmask = 14, SYS_madvise = 28, SYS_getpid = 39, SYS_futex = 202, SYS_sched_setaffinity = 203,
  SYS_sched_getaffinity = 204, SYS_clock_gettime = 228, SYS_exit_group = 231, SYS_openat = 257,
  SYS_unlinkat = 263, SYS_renameat = 264, SYS_perf_event_open = 298,
};
static inline int64_t sys_call(int64_t n, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
  register int64_t r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  int64_t result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#else
#error "sys.h knows the system calls of aarch64 and x86_64 Linux only"
#endif

enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_TRUNC = 01000 };
enum { AT_FDCWD = -100, CLOCK_MONOTONIC = 1 };
enum { PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2 };
enum { MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_POPULATE = 0x8000, MAP_STACK = 0x20000 };
enum { FUTEX_WAIT = 0, FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129, SIG_SETMASK = 2 };
enum { ENOENT = 2, EINTR = 4, ENOMEM = 12, EACCES = 13, EISDIR = 21, EINVAL = 22, ENOSPC = 28, EROFS = 30 };

static inline int64_t sys_openat(const char *path, int flags, int mode) {
  return sys_call(SYS_openat, AT_FDCWD, (int64_t)path, flags, mode, 0, 0);
}
static inline int64_t sys_close(int64_t fd) { return sys_call(SYS_close, fd, 0, 0, 0, 0, 0); }
static inline int64_t sys_read(int64_t fd, void *to, uint64_t bytes) {
  return sys_call(SYS_read, fd, (int64_t)to, (int64_t)bytes, 0, 0, 0);
}
static inline int64_t sys_write(int64_t fd, const void *from, uint64_t bytes) {
  return sys_call(SYS_write, fd, (int64_t)from, (int64_t)bytes, 0, 0, 0);
}
// Size of an open file. struct stat is 128 (aarch64) or 144 (x86_64) bytes; st_size is at 48 in both.
static inline int64_t sys_file_bytes(int64_t fd) {
  int64_t stat[18];
  const int64_t result = sys_call(SYS_fstat, fd, (int64_t)stat, 0, 0, 0, 0);
  return result < 0 ? result : stat[6];
}
static inline int64_t sys_mmap(uint64_t bytes, int protection, int flags, int64_t fd) {
  return sys_call(SYS_mmap, 0, (int64_t)bytes, protection, flags, fd, 0);
}
static inline int64_t sys_munmap(const void *address, uint64_t bytes) {
  return sys_call(SYS_munmap, (int64_t)address, (int64_t)bytes, 0, 0, 0, 0);
}
static inline int64_t sys_rename(const char *from, const char *to) {
  return sys_call(SYS_renameat, AT_FDCWD, (int64_t)from, AT_FDCWD, (int64_t)to, 0, 0);
}
static inline int64_t sys_unlink(const char *path) {
  return sys_call(SYS_unlinkat, AT_FDCWD, (int64_t)path, 0, 0, 0, 0);
}
static inline uint64_t sys_clock_ns(void) {
  int64_t time[2] = {0, 0};
  sys_call(SYS_clock_gettime, CLOCK_MONOTONIC, (int64_t)time, 0, 0, 0, 0);
  return (uint64_t)time[0] * 1000000000u + (uint64_t)time[1];
}
static inline int64_t sys_mprotect(const void *address, uint64_t bytes, int protection) {
  return sys_call(SYS_mprotect, (int64_t)address, (int64_t)bytes, protection, 0, 0, 0);
}
static inline int64_t sys_getpid(void) { return sys_call(SYS_getpid, 0, 0, 0, 0, 0, 0); }
static inline int64_t sys_futex(const uint32_t *word, int operation, uint32_t value) {
  return sys_call(SYS_futex, (int64_t)word, operation, (int64_t)value, 0, 0, 0);
}
static inline int64_t sys_signal_mask(const uint64_t *mask, uint64_t *before) {
  return sys_call(SYS_rt_sigprocmask, SIG_SETMASK, (int64_t)mask, (int64_t)before, sizeof *mask, 0, 0);
}
// Thread `id` (0: the calling one) runs on CPU number `cpu` (0 to 1023) only.
static inline int64_t sys_pin_to_cpu(int id, uint32_t cpu) {
  uint64_t mask[16] = {0};
  mask[cpu / 64 % 16] = (uint64_t)1 << cpu % 64;
  return sys_call(SYS_sched_setaffinity, id, sizeof mask, (int64_t)mask, 0, 0, 0);
}
// How many CPUs the calling thread may use.
static inline int64_t sys_cpu_count(void) {
  uint64_t mask[128] = {0};
  const int64_t bytes = sys_call(SYS_sched_getaffinity, 0, sizeof mask, (int64_t)mask, 0, 0, 0);
  int64_t count = 0;
  for (int64_t i = 0; i < bytes / 8; i++)
    for (uint64_t bits = mask[i]; bits; bits &= bits - 1) count++;
  return count;
}
__attribute__((noreturn)) static inline void sys_exit(int code) {
  for (;;) sys_call(SYS_exit_group, code, 0, 0, 0, 0, 0);
}
#endif
