// edgesparse-kernel: op=rows dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "qb4.h"

// lane 0 is i, or lanes 0 and 8 are i and j
ES_INLINE vi first_lane(int32_t i, int32_t j) {
  vi v = {};
  v[0] = i;
  if (ES_VL == 16) v[8 % ES_VL] = j;
  return v;
}

// What 128 inputs, 64 bytes, add to the lanes of an output: lower nibbles are inputs 0..63, upper ones 64..127.
ES_INLINE vf unit(vf f, const uint8_t *w, vf4 s, const int8_t *q, const int32_t *sum) {
#if ES_VL == 16
  const vb b = load_vb(w);
  vs low = {0}, high = {0};
  low = dot(low, low_nibbles(b), load_vb(q));
  high = dot(high, high_nibbles(b), load_vb(q + 64));
  const vi one = lanes(low) - 8 * first_lane(sum[0], sum[1]);
  const vi two = (lanes(high) >> ES_HIGH) - 8 * first_lane(sum[2], sum[3]);
  f += to_float(one) * __builtin_shufflevector(s, s, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return f + to_float(two) * __builtin_shufflevector(s, s, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
#else
  for (int g = 0; g < 2; g++) {
    vs low = {0}, high = {0};
    for (int i = 32 * g; i < 32 * g + 32; i += 4 * ES_VL) {
      const vb b = load_vb(w + i);
      low = dot(low, low_nibbles(b), load_vb(q + i));
      high = dot(high, high_nibbles(b), load_vb(q + 64 + i));
    }
    f += to_float(lanes(low) - first_lane(8 * sum[g], 0)) * s[g];
    f += to_float((lanes(high) >> ES_HIGH) - first_lane(8 * sum[g + 2], 0)) * s[g + 2];
  }
  return f;
#endif
}

ES_INLINE vf4 scales(const uint16_t *p, int64_t block) {
  if (block == 32) return half4(p);
  const float one = half1(p), two = half1(p + 1);
  return (vf4){one, one, two, two};
}

// y[o] = bias[o] + sum_i w[o, i] * x[i] for the outputs o = index[begin..end-1] alone; all of begin..end-1 where index
// is null.
//
// w: (outputs, inputs / 128, 64), the inputs rounded up; wscale: (outputs, 128 / block * the same). x = scale * q in
// groups of 32 with the sums `sum`; q is padded with zeros to 32. block: 32 or 64.
void ES_KERNEL(rows_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t block, int64_t begin, int64_t end) {
  enum { ROWS = 4 };
  const int64_t units = (inputs + 127) / 128, whole = inputs / 128, groups = (inputs + 31) / 32 - 4 * whole;
  const int64_t per = 128 / block;
  int8_t rest[128] = {0};  // the last unit, whose activations may end early
  float rest_scale[4] = {0};
  int32_t rest_sum[4] = {0};
  for (int64_t i = 0; i < 32 * groups; i++) rest[i] = q[128 * whole + i];
  for (int64_t g = 0; g < groups; g++) rest_scale[g] = scale[4 * whole + g], rest_sum[g] = sum[4 * whole + g];
  for (int64_t j = begin; j < end; j += ROWS) {
    const int64_t count = end - j < ROWS ? end - j : ROWS;
    int64_t row[ROWS], next[ROWS];
    vf f[ROWS] = {};
    for (int64_t r = 0; r < ROWS; r++) {
      const int64_t at = j + (r < count ? r : 0);
      row[r] = index ? index[at] : at;
      const int64_t after = j + ROWS + r < end ? j + ROWS + r : at;
      next[r] = index ? index[after] : after;
    }
    for (int64_t u = 0; u < units; u++) {
      const int8_t *x = u < whole ? q + 128 * u : rest;
      const float *s = u < whole ? scale + 4 * u : rest_scale;
      const int32_t *t = u < whole ? sum + 4 * u : rest_sum;
      for (int64_t r = 0; r < ROWS; r++) {
        const vf4 both = scales(wscale + (row[r] * units + u) * per, block) * load4(s);
        __builtin_prefetch(w + (next[r] * units + u) * 64);  // hardware sees no order in rows
        f[r] = unit(f[r], w + (row[r] * units + u) * 64, both, x, t);
      }
    }
    for (int64_t r = 0; r < count; r++) {
      float total = bias ? bias[row[r]] : 0;
      for (int i = 0; i < ES_VL; i++) total += f[r][i];
      y[row[r]] = total;
    }
  }
}
