// Arithmetic of whole numbers that never traps. The including file defines T and U, T without sign.
// What divides is not inlined: it would become no vectors, only code.
#include "es.h"

// Division by zero gives 0; the one quotient that does not fit wraps.
__attribute__((noinline, unused)) static T int_div(T x, T z) { return z == 0 ? 0 : z == -1 ? (T)(0 - (U)x) : x / z; }

// The remainder has the sign of x; by zero it is 0.
__attribute__((noinline, unused)) static T int_remainder(T x, T z) { return z == 0 || z == -1 ? 0 : x % z; }

// The remainder has the sign of z.
__attribute__((noinline, unused)) static T int_modulo(T x, T z) {
  T r = int_remainder(x, z);
  return r != 0 && (r < 0) != (z < 0) ? r + z : r;
}

__attribute__((noinline, unused)) static T int_power(T x, T z) {
  U power = 1, base = (U)x;
  if (z < 0) return x == 1 ? 1 : x == -1 ? (z & 1 ? -1 : 1) : 0;
  for (; z; z >>= 1, base *= base)
    if (z & 1) power *= base;
  return (T)power;
}

#define BINARY_CASES                                                                                     \
  CASE(ADD, (T)((U)p + (U)q)) CASE(SUB, (T)((U)p - (U)q)) CASE(MUL, (T)((U)p * (U)q))                    \
  CASE(DIV, int_div(p, q)) CASE(MIN, p < q ? p : q) CASE(MAX, p > q ? p : q) CASE(POW, int_power(p, q)) \
  CASE(MOD, int_modulo(p, q)) CASE(FMOD, int_remainder(p, q))                                            \
  CASE(BIT_AND, p & q) CASE(BIT_OR, p | q) CASE(BIT_XOR, p ^ q)
#include "binary.h"
