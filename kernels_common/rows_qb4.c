// edgesparse-kernel: op=rows dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "qb4.h"

#if ES_HIGH
static const vf4 UPPER = {1, 1, 1.0f / 16, 1.0f / 16};  // upper nibbles stay 16 times as large
#else
static const vf4 UPPER = {1, 1, 1, 1};
#endif

// What 128 inputs, 64 bytes, add to the lanes of an output: lower nibbles are inputs 0..63, upper ones 64..127. s: the
// scales of 4 groups of 32.
ES_INLINE vf unit(vf f, const uint8_t *w, vf4 s, const int8_t *q) {
#if ES_VL == 16
  const vb b = load_vb(w);
  const vf one = to_float(lanes(dot((vs){0}, low_nibbles(b), load_vb(q))));
  const vf two = to_float(lanes(dot((vs){0}, high_nibbles(b), load_vb(q + 64))));
  f += one * __builtin_shufflevector(s, s, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return f + two * __builtin_shufflevector(s, s, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
#else
  for (int g = 0; g < 2; g++) {
    vs low = {0}, high = {0};
    for (int i = 32 * g; i < 32 * g + 32; i += 4 * ES_VL) {
      const vb b = load_vb(w + i);
      low = dot(low, low_nibbles(b), load_vb(q + i));
      high = dot(high, high_nibbles(b), load_vb(q + 64 + i));
    }
    f += to_float(lanes(low)) * s[g];
    f += to_float(lanes(high)) * s[g + 2];
  }
  return f;
#endif
}

ES_INLINE vf4 scales(const uint16_t *p, int64_t block) {
  if (block == 32) return half4(p);
  uint16_t twice[4] = {p[0], p[0], p[1], p[1]};
  return half4(twice);
}

enum { MOST = 4, AHEAD_BYTES = 2048 };

// `many` rows at a time, 1 or MOST (a constant): all of them are one stream, some of them share what they read of x.
ES_INLINE void rows(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t block, int64_t begin, int64_t end,
    int many) {
  const int64_t units = (inputs + 127) / 128, whole = inputs / 128, groups = (inputs + 31) / 32 - 4 * whole;
  const int64_t per = 128 / block;
  int8_t rest[128] = {0};  // the last unit, whose activations may end early
  float rest_scale[4] = {0};
  int32_t rest_sum[4] = {0};
  for (int64_t i = 0; i < 32 * groups; i++) rest[i] = q[128 * whole + i];
  for (int64_t g = 0; g < groups; g++) rest_scale[g] = scale[4 * whole + g], rest_sum[g] = sum[4 * whole + g];
  for (int64_t j = begin; j < end; j += many) {
    const int64_t count = end - j < many ? end - j : many;
    int64_t row[MOST];
    const uint8_t *at[MOST], *next[MOST];
    const uint16_t *of[MOST];
    vf f[MOST] = {};
    vf4 less[MOST] = {};  // the 8 of u - 8 is taken out of the sums of a whole group
    for (int64_t r = 0; r < many; r++) {
      const int64_t here = j + (r < count ? r : 0), after = here + many < end ? here + many : here;
      row[r] = index ? index[here] : here;
      at[r] = w + row[r] * units * 64;
      of[r] = wscale + row[r] * units * per;
      next[r] = w + (index ? index[after] : after) * units * 64;
    }
    for (int64_t u = 0; u < units; u++) {
      const int8_t *x = u < whole ? q + 128 * u : rest;
      const float *s = u < whole ? scale + 4 * u : rest_scale;
      const int32_t *t = u < whole ? sum + 4 * u : rest_sum;
      const vf4 by = load4(s) * UPPER, eight = (vf4){t[0], t[1], t[2], t[3]} * 8 / UPPER;
#pragma unroll
      for (int64_t r = 0; r < many; r++) {
        const vf4 both = scales(of[r] + u * per, block) * by;
        // hardware sees no order in some of the rows: into the L2 cache, which waits for more lines at once
        if (many > 1) __builtin_prefetch(next[r] + 64 * u, 0, 2);
        else __builtin_prefetch(at[r] + 64 * u + AHEAD_BYTES);
        f[r] = unit(f[r], at[r] + 64 * u, both, x);
        less[r] += both * eight;
      }
    }
#pragma unroll
    for (int64_t r = 0; r < many; r++) {
      const float total = total_vf(f[r]) - total4(less[r]);
      if (r < count) y[row[r]] = bias ? total + bias[row[r]] : total;
    }
  }
}

// y[o] = bias[o] + sum_i w[o, i] * x[i] for the outputs o = index[begin..end-1] alone; all of begin..end-1 where index
// is null.
//
// w: (outputs, inputs / 128, 64), the inputs rounded up; wscale: (outputs, 128 / block * the same). x = scale * q in
// groups of 32 with the sums `sum`; q is padded with zeros to 32. block: 32 or 64.
void ES_KERNEL(rows_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int8_t *q,
    const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t block, int64_t begin, int64_t end) {
  if (block == 32) {
    if (index) rows(w, wscale, bias, index, q, scale, sum, y, inputs, 32, begin, end, MOST);
    else rows(w, wscale, bias, 0, q, scale, sum, y, inputs, 32, begin, end, 1);
  } else {
    if (index) rows(w, wscale, bias, index, q, scale, sum, y, inputs, 64, begin, end, MOST);
    else rows(w, wscale, bias, 0, q, scale, sum, y, inputs, 64, begin, end, 1);
  }
}
