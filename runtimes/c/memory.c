// The four functions that clang calls on its own, for targets without a libc. Compiled with
// -fno-builtin, or clang would turn these very loops into calls of themselves. Hidden, so that
// libmodel.so does not replace the C library's own for the program that loads it.
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)
typedef uint8_t block __attribute__((vector_size(16), aligned(1)));

// to[i] = from[i]; the two must not overlap.
void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  uint8_t *t = to;
  const uint8_t *f = from;
  for (; bytes >= 16; bytes -= 16, t += 16, f += 16) *(block *)t = *(const block *)f;
  for (; bytes > 0; bytes--) *t++ = *f++;
  return to;
}

// to[i] = from[i]; they may overlap.
void *memmove(void *to, const void *from, size_t bytes) {
  uint8_t *t = to;
  const uint8_t *f = from;
  if (t <= f || t >= f + bytes) {
    // Upwards. A block is read whole before it is written, so that overlap does no harm.
    for (; bytes >= 16; bytes -= 16, t += 16, f += 16) {
      const block b = *(const block *)f;
      *(block *)t = b;
    }
    for (; bytes > 0; bytes--) *t++ = *f++;
    return to;
  }
  for (; bytes >= 16; bytes -= 16) {
    const block b = *(const block *)(f + bytes - 16);
    *(block *)(t + bytes - 16) = b;
  }
  for (; bytes > 0; bytes--) t[bytes - 1] = f[bytes - 1];
  return to;
}

// to[i] = (uint8_t)value
void *memset(void *to, int value, size_t bytes) {
  uint8_t *t = to;
  const block b = (uint8_t)value - (block){0};
  for (; bytes >= 16; bytes -= 16, t += 16) *(block *)t = b;
  for (; bytes > 0; bytes--) *t++ = (uint8_t)value;
  return to;
}

// a[i] - b[i] at the first i where they differ, else 0.
int memcmp(const void *a, const void *b, size_t bytes) {
  const uint8_t *x = a, *y = b;
  for (; bytes > 0; bytes--, x++, y++)
    if (*x != *y) return *x - *y;
  return 0;
}
#pragma GCC visibility pop
