// Cosines and sines of a position, for RoPE: in doubles, so that far positions are as exact as near ones.
#ifndef ES_ROTATION_H
#define ES_ROTATION_H
#include <stdint.h>

// *cosine and *sine of `angle`, to some 1e-10 for angles below 1e6: by Taylor's series within an eighth of a turn.
static void es_turn(double angle, float *cosine, float *sine) {
  const double quarters = angle * 0.63661977236758134308;  // 2 / pi
  const int64_t quarter = (int64_t)(quarters + (quarters < 0 ? -0.5 : 0.5));
  const double a = angle - (double)quarter * 1.57079632673412561417, x = a - (double)quarter * 6.07710050650619224932e-11;
  const double z = x * x;
  double s = -2.505210838544172e-8, c = 2.08767569878681e-9;
  s = s * z + 2.755731922398589e-6, c = c * z - 2.755731922398589e-7;
  s = s * z - 1.984126984126984e-4, c = c * z + 2.48015873015873e-5;
  s = s * z + 8.333333333333333e-3, c = c * z - 1.388888888888889e-3;
  s = s * z - 1.666666666666667e-1, c = c * z + 4.166666666666667e-2;
  c = c * z - 0.5;
  s = s * z * x + x, c = c * z + 1;
  const int odd = quarter & 1, down = (int)((quarter + 1) & 2), left = (int)(quarter & 2);
  *cosine = (float)(down ? -(odd ? s : c) : (odd ? s : c));
  *sine = (float)(left ? -(odd ? c : s) : (odd ? c : s));
}

// turn (2, pairs): cosines, then sines, of position * frequencies (pairs, radians a position).
static void es_turns(const double *frequencies, int64_t pairs, int64_t position, float *turn) {
  for (int64_t i = 0; i < pairs; i++) es_turn((double)position * frequencies[i], turn + i, turn + pairs + i);
}
#endif
