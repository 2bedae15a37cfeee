// Starts a thread without a libc.
#ifndef ES_CLONE_H
#define ES_CLONE_H
#include <stdint.h>

enum {
  CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800, CLONE_THREAD = 0x10000,
  CLONE_SYSVSEM = 0x40000, CLONE_PARENT_SETTID = 0x100000, CLONE_CHILD_CLEARTID = 0x200000,
  THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
};

// A new thread calls function(argument) on the stack that ends at `stack_end` (16-byte aligned) and ends with it.
// *id is its number until then, and 0 afterwards. Returns that number, or a negative errno. The thread shares the
// thread-local variables of its creator, so that it may use none: no libc.
#pragma GCC visibility push(hidden)
int64_t es_clone(int64_t flags, void *stack_end, uint32_t *id, void (*function)(int64_t), int64_t argument);
#pragma GCC visibility pop

// The new thread returns from the system call, too: registers as before, but on a stack with nothing to return to.
#if defined(__aarch64__)
__asm__(
    ".text\n.hidden es_clone\n.globl es_clone\n.type es_clone, %function\nes_clone:\n"
    " mov x9, x3\n mov x10, x4\n mov x4, x2\n mov x3, xzr\n mov x8, #220\n svc #0\n"
    " cbz x0, 1f\n ret\n"
    "1: mov x29, xzr\n mov x30, xzr\n mov x0, x10\n blr x9\n mov x0, xzr\n mov x8, #93\n svc #0\n"
    ".size es_clone, .-es_clone\n");
#elif defined(__x86_64__)
__asm__(
    ".text\n.hidden es_clone\n.globl es_clone\n.type es_clone, @function\nes_clone:\n"
    " mov %rcx, %r9\n mov %rdx, %r10\n mov $56, %eax\n syscall\n"  // r8, the argument: ignored as a TLS address
    " test %rax, %rax\n jz 1f\n ret\n"
    "1: xor %ebp, %ebp\n mov %r8, %rdi\n call *%r9\n xor %edi, %edi\n mov $60, %eax\n syscall\n"
    ".size es_clone, .-es_clone\n");
#endif
#endif
