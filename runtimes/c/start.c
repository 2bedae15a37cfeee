// The entry point of a static program without a libc: hands argc, argv and the kernel's
// auxiliary vector (what the CPU can do) to es_main, and exits with what it returns.
#include "start.h"
#include "sys.h"

static const uint64_t *auxiliary_vector;

unsigned long getauxval(unsigned long type) {
  for (const uint64_t *entry = auxiliary_vector; entry[0] != 0; entry += 2)
    if (entry[0] == type) return entry[1];
  return 0;
}

// The kernel starts a program with this on its stack: argc, argv.., NULL, environment.., NULL,
// then the auxiliary vector as (type, value) pairs.
__attribute__((noreturn, used)) void es_start(const uint64_t *stack) {
  const int argc = (int)stack[0];
  const char *const *argv = (const char *const *)(stack + 1);
  const uint64_t *environment = stack + 1 + argc + 1;
  while (*environment != 0) environment++;
  auxiliary_vector = environment + 1;
  sys_exit(es_main(argc, argv));
}

#if defined(__aarch64__)
__asm__(".text\n.globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n and sp, x0, #-16\n bl es_start\n");
#else
__asm__(".text\n.globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call es_start\n");
#endif
