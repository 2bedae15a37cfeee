// Does this CPU have what an ISA variant was compiled for? No libc, no compiler runtime.
#ifndef ES_ISA_H
#define ES_ISA_H
#include <stdint.h>

static inline int es_same(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

#if defined(__x86_64__)
#include <cpuid.h>

// x86-64-v3 and -v4 as the psABI defines them; the operating system must save the registers too.
static inline int es_cpu_has(const char *isa) {
  unsigned a, b, c, d, low = 0, high;
  if (es_same(isa, "sse2") || es_same(isa, "scalar")) return 1;  // every x86-64
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const unsigned fma_movbe_osxsave_avx_f16c = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29;
  if ((c & fma_movbe_osxsave_avx_f16c) != fma_movbe_osxsave_avx_f16c) return 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  const unsigned bmi1_avx2_bmi2 = 1u << 3 | 1u << 5 | 1u << 8;
  if ((b & bmi1_avx2_bmi2) != bmi1_avx2_bmi2 || (low & 6) != 6) return 0;
  if (es_same(isa, "avx2")) return 1;
  const unsigned f_dq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
  if ((b & f_dq_cd_bw_vl) != f_dq_cd_bw_vl || (low & 0xe6) != 0xe6) return 0;
  const unsigned vnni = 1u << 11;
  return es_same(isa, "avx512") || (es_same(isa, "avx512vnni") && (c & vnni));
}
#elif defined(__aarch64__) && defined(ES_ASK_HWCAP)
#pragma GCC visibility push(hidden)
uint64_t es_hwcap(void);  // hwcap.c
#pragma GCC visibility pop

// neon is what every CPU has; neon_fp16 is FEAT_FP16 of ARMv8.2, scalar and vector, neon_dotprod its FEAT_DotProd.
static inline int es_cpu_has(const char *isa) {
  const uint64_t fphp_asimdhp = 1u << 9 | 1u << 10, asimddp = 1u << 20;
  if (es_same(isa, "neon_fp16")) return (es_hwcap() & fphp_asimdhp) == fphp_asimdhp;
  if (es_same(isa, "neon_dotprod")) return (es_hwcap() & asimddp) != 0;
  return es_same(isa, "neon");
}
#else
// One variant, compiled for what every CPU of the architecture has.
static inline int es_cpu_has(const char *isa) {
  (void)isa;
  return 1;
}
#endif
#endif
