// exp, log, tanh, erf and sigmoid on vectors of 1, 4, 8 and 16 floats. No libm, no tables.
// Accurate to about 2 units in the last place of the result; NaN and infinities as in C.
#ifndef ES_MATH_F32_H
#define ES_MATH_F32_H
#include "es.h"

// Lanes of a where the mask (all ones or all zeros) is set, else lanes of b.
#define ES_PICK(n, mask, a, b) ((vf##n)(((mask) & (vi##n)(a)) | (~(mask) & (vi##n)(b))))

// The larger (smaller) of x and a bound; a NaN in x stays. arm64 has one instruction for that, x86 and wasm have one
// for the comparison and the choice, which the compiler finds by itself.
#if defined(__aarch64__)
#define ES_AT_LEAST(n, x, bound) __builtin_elementwise_maximum(x, bound)
#define ES_AT_MOST(n, x, bound) __builtin_elementwise_minimum(x, bound)
#else
#define ES_AT_LEAST(n, x, bound) ES_PICK(n, (x) < (bound), bound, x)
#define ES_AT_MOST(n, x, bound) ES_PICK(n, (x) > (bound), bound, x)
#endif

#define ES_MATH(n)                                                                                           \
  /* x < lo ? lo : x > hi ? hi : x; a NaN stays. */                                                         \
  ES_INLINE vf##n es_clamp##n(vf##n x, float lo, float hi) {                                                 \
    vf##n l = splat##n(lo), h = splat##n(hi);                                                                \
    x = ES_AT_LEAST(n, x, l);                                                                                \
    return ES_AT_MOST(n, x, h);                                                                              \
  }                                                                                                          \
  /* exp(x) = 2^k exp(r), |r| <= ln2 / 2, exp(r) by a polynomial of degree 7 (Cephes' expf). */              \
  ES_INLINE vf##n es_exp##n(vf##n x) {                                                                       \
    vf##n y = es_clamp##n(x, -104.0f, 89.0f);                                                                \
    vf##n k = y * 1.44269504f + 12582912.0f;                                                                 \
    /* an integer in the low mantissa bits */                                                                \
    vi##n i = (vi##n)k - 0x4b400000;                                                                         \
    k = k - 12582912.0f;                                                                                     \
    vf##n r = y - k * 0.693359375f;                                                                          \
    r = r - k * -2.12194440e-4f;                                                                             \
    vf##n p = r * 1.9875691500e-4f + 1.3981999507e-3f;                                                       \
    p = p * r + 8.3334519073e-3f;                                                                            \
    p = p * r + 4.1665795894e-2f;                                                                            \
    p = p * r + 1.6666665459e-1f;                                                                            \
    p = p * r + 5.0000001201e-1f;                                                                            \
    p = p * r * r + r + 1.0f;                                                                                \
    /* 2^k in two steps, so that subnormal and just overflowing results come out right */                    \
    vi##n h = i >> 1;                                                                                        \
    p = p * (vf##n)((h + 127) << 23) * (vf##n)((i - h + 127) << 23);                                         \
    return ES_PICK(n, x == x, p, x);                                                                         \
  }                                                                                                          \
  /* log(m 2^e) = log(m) + e ln2, m in [sqrt(1/2), sqrt(2)) (Cephes' logf). */                               \
  ES_INLINE vf##n es_log##n(vf##n x) {                                                                       \
    vi##n tiny = x < splat##n(1.17549435e-38f);                                                              \
    vf##n y = ES_PICK(n, tiny, x * 8388608.0f, x);                                                           \
    vi##n bits = (vi##n)y, e = ((bits >> 23) & 255) - 126 - (tiny & 23);                                     \
    vf##n m = (vf##n)((bits & 0x807fffff) | 0x3f000000);                                                     \
    vi##n low = m < splat##n(0.707106781f);                                                                  \
    m = m + (vf##n)(low & (vi##n)m) - 1.0f;                                                                  \
    vf##n k = __builtin_convertvector(e + low, vf##n);                                                       \
    vf##n z = m * m;                                                                                         \
    vf##n p = m * 7.0376836292e-2f - 1.1514610310e-1f;                                                       \
    p = p * m + 1.1676998740e-1f;                                                                            \
    p = p * m - 1.2420140846e-1f;                                                                            \
    p = p * m + 1.4249322787e-1f;                                                                            \
    p = p * m - 1.6668057665e-1f;                                                                            \
    p = p * m + 2.0000714765e-1f;                                                                            \
    p = p * m - 2.4999993993e-1f;                                                                            \
    p = p * m + 3.3333331174e-1f;                                                                            \
    p = p * m * z + k * -2.12194440e-4f - z * 0.5f + m + k * 0.693359375f;                                   \
    p = ES_PICK(n, x == splat##n(__builtin_inff()), x, p);                                                   \
    p = ES_PICK(n, x == splat##n(0.0f), splat##n(-__builtin_inff()), p);                                     \
    p = ES_PICK(n, x < splat##n(0.0f), splat##n(__builtin_nanf("")), p);                                     \
    return ES_PICK(n, x == x, p, x);                                                                         \
  }                                                                                                          \
  ES_INLINE vf##n es_sigmoid##n(vf##n x) { return 1.0f / (1.0f + es_exp##n(-x)); }                           \
  /* |x| < 0.625: odd polynomial (Cephes' tanhf); else 1 - 2 / (exp(2|x|) + 1) with x's sign. */             \
  ES_INLINE vf##n es_tanh##n(vf##n x) {                                                                      \
    vi##n sign = (vi##n)x & (vi##n)splat##n(-0.0f);                                                          \
    vf##n a = (vf##n)((vi##n)x ^ sign), z = x * x;                                                           \
    vf##n p = z * -5.70498872745e-3f + 2.06390887954e-2f;                                                    \
    p = p * z - 5.37397155531e-2f;                                                                           \
    p = p * z + 1.33314422036e-1f;                                                                           \
    p = p * z - 3.33332819422e-1f;                                                                           \
    p = p * z * x + x;                                                                                       \
    vf##n big = 1.0f - 2.0f / (es_exp##n(a + a) + 1.0f);                                                     \
    big = (vf##n)((vi##n)big | sign);                                                                        \
    p = ES_PICK(n, a < splat##n(0.625f), p, big);                                                            \
    return ES_PICK(n, x == x, p, x);                                                                         \
  }                                                                                                          \
  /* |x| < 1: x plus x times a polynomial of x^2 (fitted at Chebyshev points, relative error 1e-8); else     \
     1 - t exp(-x^2 + poly(t)), t = 1 / (1 + |x| / 2), the complementary error function of Numerical         \
     Recipes (relative error 1.2e-7), with x's sign. */                                                      \
  ES_INLINE vf##n es_erf##n(vf##n x) {                                                                       \
    vi##n sign = (vi##n)x & (vi##n)splat##n(-0.0f);                                                          \
    vf##n a = (vf##n)((vi##n)x ^ sign), z = x * x;                                                           \
    vf##n s = z * 7.88249745e-5f - 8.01885501e-4f;                                                           \
    s = s * z + 5.18931216e-3f;                                                                              \
    s = s * z - 2.68543288e-2f;                                                                              \
    s = s * z + 1.12835974e-1f;                                                                              \
    s = s * z - 3.7612626e-1f;                                                                               \
    s = s * z + 1.28379166e-1f;                                                                              \
    s = s * x + x;                                                                                           \
    vf##n c = es_clamp##n(a, 0.0f, 10.0f), t = 1.0f / (1.0f + 0.5f * c);                                     \
    vf##n p = t * 0.17087277f - 0.82215223f;                                                                 \
    p = p * t + 1.48851587f;                                                                                 \
    p = p * t - 1.13520398f;                                                                                 \
    p = p * t + 0.27886807f;                                                                                 \
    p = p * t - 0.18628806f;                                                                                 \
    p = p * t + 0.09678418f;                                                                                 \
    p = p * t + 0.37409196f;                                                                                 \
    p = p * t + 1.00002368f;                                                                                 \
    p = p * t - 1.26551223f;                                                                                 \
    vf##n big = 1.0f - t * es_exp##n(p - c * c);                                                             \
    big = (vf##n)((vi##n)big | sign);                                                                        \
    p = ES_PICK(n, a < splat##n(1.0f), s, big);                                                              \
    return ES_PICK(n, x == x, p, x);                                                                         \
  }                                                                                                          \
  /* erf to 4e-7 of 1, for GELU, which adds 1 to it: odd over even polynomial on [-4, 4], as in Eigen.     \
     Cheaper than es_erf, which is accurate near 0, too: a layer with GELU took half the time. */          \
  ES_INLINE vf##n es_erf_near##n(vf##n x) {                                                                \
    vf##n c = es_clamp##n(x, -4.0f, 4.0f), z = c * c;                                                      \
    vf##n p = z * -2.72614225801306e-10f + 2.77068142495902e-08f;                                          \
    p = p * z - 2.10102402082508e-06f;                                                                     \
    p = p * z - 5.69250639462346e-05f;                                                                     \
    p = p * z - 7.34990630326855e-04f;                                                                     \
    p = p * z - 2.95459980854025e-03f;                                                                     \
    p = p * z - 1.60960333262415e-02f;                                                                     \
    vf##n q = z * -1.45660718464996e-05f - 2.13374055278905e-04f;                                          \
    q = q * z - 1.68282697438203e-03f;                                                                     \
    q = q * z - 7.37332916720468e-03f;                                                                     \
    q = q * z - 1.42647390514189e-02f;                                                                     \
    return es_clamp##n(c * p / q, -1.0f, 1.0f);                                                            \
  }
ES_MATH(1)
ES_MATH(4)
ES_MATH(8)
ES_MATH(16)
#endif
