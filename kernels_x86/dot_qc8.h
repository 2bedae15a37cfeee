// Products of bytes on x86: weights are stored as w + 128, activations are -127..127.
//
// V: a vector of weights, I: as many bits as int32. interleave(): the weights of 4 inputs for one output become
// neighbours, in every 128 bits for themselves: quad[k] of the outputs 4k..4k+3 of each 16.
#ifndef ES_DOT_QC8_H
#define ES_DOT_QC8_H
#include <immintrin.h>
#include "es.h"

#if defined(__AVX512BW__)
enum { BYTES = 64, WIDE = 1 };
typedef __m512i V;
typedef vi16 I;
typedef vf16 F;
ES_INLINE V load_v(const uint8_t *p) { return _mm512_loadu_si512(p); }
ES_INLINE V load_piece(const uint8_t *p) { return _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p)); }
#define X86(name) _mm512_##name
#define LOAD_F load16
#define STORE_F store16
#elif defined(__AVX2__)
enum { BYTES = 32, WIDE = 2 };
typedef __m256i V;
typedef vi8 I;
typedef vf8 F;
ES_INLINE V load_v(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
ES_INLINE V load_piece(const uint8_t *p) { return _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
#define X86(name) _mm256_##name
#define LOAD_F load8
#define STORE_F store8
#else
enum { BYTES = 16, WIDE = 1 };
typedef __m128i V;
typedef vi4 I;
typedef vf4 F;
ES_INLINE V load_v(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
ES_INLINE V load_piece(const uint8_t *p) { return load_v(p); }
#define X86(name) _mm_##name
#define LOAD_F load4
#define STORE_F store4
#endif

ES_INLINE void interleave(V a, V b, V c, V d, V *quad) {
  const V ab = X86(unpacklo_epi8)(a, b), cd = X86(unpacklo_epi8)(c, d);
  const V ab_high = X86(unpackhi_epi8)(a, b), cd_high = X86(unpackhi_epi8)(c, d);
  quad[0] = X86(unpacklo_epi16)(ab, cd), quad[1] = X86(unpackhi_epi16)(ab, cd);
  quad[2] = X86(unpacklo_epi16)(ab_high, cd_high), quad[3] = X86(unpackhi_epi16)(ab_high, cd_high);
}

// What is prepared once for a group of 32 activations, and where sums begin so that they are those of w alone.
// dot(): sum[lane] += the products of a quad's 4 weights of that lane with activations 4k..4k+3.
#if defined(__AVX512VNNI__)
typedef struct { const int8_t *q; int32_t start; } group;
ES_INLINE group prepare(const int8_t *q, int32_t sum) { return (group){q, -128 * sum}; }
ES_INLINE I dot(I sum, V quad, const group *g, int k) {
  int32_t four;
  __builtin_memcpy(&four, g->q + 4 * k, 4);
  return (I)_mm512_dpbusd_epi32((V)sum, quad, _mm512_set1_epi32(four));
}
#elif defined(__AVX2__)
// vpmaddubsw adds two products in 16 bits. Those of magnitudes up to 127 with -128..127 fit. Where q is negative the
// weight's sign changes, by inverting its bits: w - 1 for each, which the start makes good.
typedef struct { int32_t flip[8], size[8], start; } group;
ES_INLINE group prepare(const int8_t *q, int32_t sum) {
  group g;
  const __m256i v = _mm256_loadu_si256((const __m256i *)q), negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
  const __m256i size = _mm256_abs_epi8(v);
  _mm256_storeu_si256((__m256i *)g.size, size);
  _mm256_storeu_si256((__m256i *)g.flip, _mm256_xor_si256(negative, _mm256_set1_epi8(-128)));
  const __m256i by_8 = _mm256_sad_epu8(size, _mm256_setzero_si256());
  const __m128i by_16 = _mm_add_epi32(_mm256_castsi256_si128(by_8), _mm256_extracti128_si256(by_8, 1));
  const int32_t sizes = _mm_cvtsi128_si32(by_16) + _mm_extract_epi32(by_16, 2);
  g.start = (sizes - sum) / 2;  // the sizes of the negative ones
  return g;
}
ES_INLINE I dot(I sum, V quad, const group *g, int k) {
  const V w = (V)((I)quad ^ ((I){} + g->flip[k])), q = (V)((I){} + g->size[k]);
  return sum + (I)X86(madd_epi16)(X86(maddubs_epi16)(q, w), X86(set1_epi16)(1));
}
#else
typedef struct { int32_t even[8], odd[8], start; } group;  // activations 4k, 4k + 2 and 4k + 1, 4k + 3 as 16 bits
ES_INLINE group prepare(const int8_t *q, int32_t sum) {
  group g;
  for (int k = 0; k < 8; k += 4) {
    const __m128i v = load_v((const uint8_t *)q + 4 * k);
    _mm_storeu_si128((__m128i *)(g.even + k), _mm_srai_epi16(_mm_slli_epi16(v, 8), 8));
    _mm_storeu_si128((__m128i *)(g.odd + k), _mm_srai_epi16(v, 8));
  }
  g.start = -128 * sum;
  return g;
}
ES_INLINE I dot(I sum, V quad, const group *g, int k) {
  const V even = _mm_and_si128(quad, _mm_set1_epi16(255)), odd = _mm_srli_epi16(quad, 8);
  return sum + (I)_mm_madd_epi16(even, _mm_set1_epi32(g->even[k])) + (I)_mm_madd_epi16(odd, _mm_set1_epi32(g->odd[k]));
}
#endif

#define ES_QUADS
#if defined(__AVX512BW__)
enum { TOKENS = 3 };
#else
enum { TOKENS = 2 };
#endif

// Sums of 4 inputs, k of 8 in the group, for BYTES outputs.
ES_INLINE void four(I *sum, V a, V b, V c, V d, const group *g, int k) {
  V quad[4];
  interleave(a, b, c, d, quad);
#pragma unroll
  for (int i = 0; i < 4; i++) sum[i] = dot(sum[i], quad[i], g, k);
}

// 32 products of one output, in sums of neighbours. w - 128 has no -128: its sign can be changed.
#if defined(__AVX2__)
typedef vi8 P;
typedef vf8 PF;
#define SUM_P es_sum8
ES_INLINE P products(const uint8_t *w, const int8_t *q) {
  const __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)w), _mm256_set1_epi8(-128));
  const __m256i b = _mm256_loadu_si256((const __m256i *)q), size = _mm256_abs_epi8(b), by = _mm256_sign_epi8(a, b);
#if defined(__AVX512VNNI__)
  return (P)_mm256_dpbusd_epi32(_mm256_setzero_si256(), size, by);
#else
  return (P)_mm256_madd_epi16(_mm256_maddubs_epi16(size, by), _mm256_set1_epi16(1));
#endif
}
#else
typedef vi4 P;
typedef vf4 PF;
#define SUM_P es_sum4
ES_INLINE P products(const uint8_t *w, const int8_t *q) {
  P sum = {0};
#pragma unroll
  for (int i = 0; i < 32; i += 16) {
    const __m128i a = load_v(w + i), b = _mm_loadu_si128((const __m128i *)(q + i)), zero = _mm_setzero_si128();
    const __m128i middle = _mm_set1_epi16(128);
    const __m128i low = _mm_sub_epi16(_mm_unpacklo_epi8(a, zero), middle);
    const __m128i high = _mm_sub_epi16(_mm_unpackhi_epi8(a, zero), middle);
    sum += (P)_mm_madd_epi16(low, _mm_srai_epi16(_mm_unpacklo_epi8(b, b), 8));
    sum += (P)_mm_madd_epi16(high, _mm_srai_epi16(_mm_unpackhi_epi8(b, b), 8));
  }
  return sum;
}
#endif
#endif
