// sin and cos of one float, correct to the last place for every finite argument, in double precision.
#ifndef ES_TRIG_F32_H
#define ES_TRIG_F32_H
#include "es.h"

// Reduces |x| >= 2^20 by Payne and Hanek's method: only those bits of 2 / pi are multiplied that decide the
// quadrant and the 64 bits below it.
static inline double es_reduce_huge(uint32_t bits, int *quadrant) {
  static const uint32_t two_over_pi[24] = {  // 32 bits each, beginning 8 bits after the one before
      0xa2,       0xa2f9,     0xa2f983,   0xa2f9836e, 0xf9836e4e, 0x836e4e44, 0x6e4e4415, 0x4e441529,
      0x441529fc, 0x1529fc27, 0x29fc2757, 0xfc2757d1, 0x2757d1f5, 0x57d1f534, 0xd1f534dd, 0xf534ddc0,
      0x34ddc0db, 0xddc0db62, 0xc0db6295, 0xdb629599, 0x6295993c, 0x95993c43, 0x993c4390, 0x3c439041};
  const uint32_t *at = &two_over_pi[(bits >> 26) & 15];
  uint32_t mantissa = ((bits & 0x7fffff) | 0x800000) << ((bits >> 23) & 7);
  uint64_t high = (uint64_t)(mantissa * at[0]) << 32;
  uint64_t middle = (uint64_t)mantissa * at[4];
  uint64_t low = (uint64_t)mantissa * at[8];
  uint64_t turns = (high | (low >> 32)) + middle;  // units of 2^-62 quarter turns
  uint64_t n = (turns + (1ULL << 61)) >> 62;
  *quadrant = (int)n;
  return (double)(int64_t)(turns - (n << 62)) * 3.4061215800865545e-19;  // pi / 2 / 2^62
}

// sin(x + shift pi / 2) for shift 0 (sine) or 1 (cosine); NaN for infinities.
static inline float es_sine(float x, int shift) {
  union { float f; uint32_t u; } in = {x};
  uint32_t magnitude = in.u & 0x7fffffff;
  int quadrant;
  double r;
  if (magnitude >= 0x7f800000) return x - x;
  if (magnitude < 0x49800000) {  // 2^20: x - n pi / 2 in two parts is exact to far below a float's last place
    double n = x * 0.63661977236758134 + 6755399441055744.0;
    n -= 6755399441055744.0;
    r = x - n * 1.5707963109016418 - n * 1.5893254773528196e-8;
    quadrant = (int)n;
  } else {
    r = es_reduce_huge(in.u, &quadrant);
    if (in.u >> 31) r = -r, quadrant = -quadrant;
  }
  quadrant += shift;
  double z = r * r;
  double sine = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800))));
  double cosine = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 - z / 3628800))));
  double y = quadrant & 1 ? cosine : sine;
  return (float)(quadrant & 2 ? -y : y);
}
#endif
