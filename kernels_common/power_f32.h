// x^z and the remainder of a division, one float at a time, as C's powf and fmodf define them.
#ifndef ES_POWER_F32_H
#define ES_POWER_F32_H
#include "es.h"

typedef union { double f; uint64_t u; } es_double_bits;

// log(x) of a positive finite float: log(m) + e ln 2, m in [sqrt(1/2), sqrt(2)), as 2 artanh((m - 1) / (m + 1)).
static inline double es_log_double(float x) {
  es_double_bits b = {x};
  int64_t e = (int64_t)((b.u - 0x3fe6a09e667f3bcdULL) >> 52 << 52) >> 52;
  b.u -= (uint64_t)e << 52;
  double s = (b.f - 1) / (b.f + 1), z = s * s;
  double p = 1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z / 13)))));
  return 2 * s * p + (double)e * 0.69314718055994531;
}

// exp(y) as a float: 2^k exp(r), |r| <= ln 2 / 2.
static inline float es_exp_double(double y) {
  y = y > 100 ? 100 : y < -120 ? -120 : y;
  double k = y * 1.4426950408889634 + 6755399441055744.0;
  k -= 6755399441055744.0;
  double r = y - k * 0.69314718055994531;
  double p = 1.0 / 5040 + r * (1.0 / 40320 + r / 362880);
  p = 1 + r * (1 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720 + r * p))))));
  es_double_bits scale = {.u = (uint64_t)((int64_t)k + 1023) << 52};
  return (float)(p * scale.f);
}

// Rounded correctly but for a few results next to a tie.
__attribute__((noinline, unused)) static float es_power(float x, float z) {
  if (z == 0 || x == 1) return 1;
  if (x != x || z != z) return x + z;
  int small = z >= -64 && z <= 64;
  if (small && (float)(int)z == z) {
    int n = (int)(z < 0 ? -z : z);
    double power = 1;
    for (double base = x; n; n >>= 1, base *= base)
      if (n & 1) power *= base;
    return (float)(z < 0 ? 1 / power : power);
  }
  const float huge = 8388608.0f;  // from here on all floats are whole, from twice that on even
  int whole = z <= -huge || z >= huge || (float)(int)z == z;
  int odd = whole && z > -2 * huge && z < 2 * huge && ((int)z & 1);
  int negative = __builtin_signbit(x) != 0;
  float a = negative ? -x : x;
  if (a == 1) return whole ? (negative && odd ? -1.0f : 1.0f) : __builtin_nanf("");
  if (negative && !whole && a != 0 && a < __builtin_inff()) return __builtin_nanf("");
  float y;
  if (a == 0 || a == __builtin_inff()) y = (a == 0) == (z > 0) ? 0 : __builtin_inff();
  else y = es_exp_double(z * es_log_double(a));
  return negative && odd ? -y : y;
}

// x - trunc(x / z) z, exactly: long division of the mantissas, 40 bits at a time.
__attribute__((noinline, unused)) static float es_remainder(float x, float z) {
  union { float f; uint32_t u; } ux = {x}, uz = {z};
  uint32_t a = ux.u & 0x7fffffff, b = uz.u & 0x7fffffff;
  if (b == 0 || b > 0x7f800000 || a >= 0x7f800000) return __builtin_nanf("");
  if (a < b) return x;
  int ea = a >> 23 ? (int)(a >> 23) : 1, eb = b >> 23 ? (int)(b >> 23) : 1;
  uint64_t ma = a >> 23 ? (a & 0x7fffff) | 0x800000 : a, mb = b >> 23 ? (b & 0x7fffff) | 0x800000 : b;
  ma %= mb;
  for (int left = ea - eb; left > 0; left -= 40) ma = (ma << (left < 40 ? left : 40)) % mb;
  es_double_bits unit = {.u = (uint64_t)(eb - 150 + 1023) << 52};
  float r = (float)((double)(int64_t)ma * unit.f);
  return ux.u >> 31 ? -r : r;
}

// The same with the quotient rounded down: the result has the sign of z.
__attribute__((unused)) static float es_modulo(float x, float z) {
  float r = es_remainder(x, z);
  if (r == 0) return __builtin_copysignf(0.0f, z);
  return (r < 0) != (z < 0) ? r + z : r;
}
#endif
