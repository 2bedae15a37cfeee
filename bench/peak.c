// What the machine can do at most: multiply-adds from registers, and reading memory.
#include <stdint.h>

typedef float vf __attribute__((vector_size(4 * ES_VL)));
enum { CHAINS = ES_VL == 16 ? 24 : 12 };  // independent sums, enough to hide the latency, all in registers

// 2 * CHAINS * ES_VL floating-point operations a round.
__attribute__((visibility("default"))) float es_multiply_adds(int64_t rounds) {
  vf sum[CHAINS], factor = (vf){} + 0.999f, term = (vf){} + 0.5f;
#pragma unroll
  for (int i = 0; i < CHAINS; i++) sum[i] = (vf){} + (float)i;
  for (int64_t r = 0; r < rounds; r++)
#pragma unroll
    for (int i = 0; i < CHAINS; i++) {
      sum[i] = sum[i] * factor + term;
      __asm__ volatile("" : "+v"(sum[i]));  // v: all 32 registers of AVX-512
    }
  vf all = sum[0];
#pragma unroll
  for (int i = 1; i < CHAINS; i++) all += sum[i];
  return all[0];
}

// Reads `bytes` (a multiple of 16 vectors) `rounds` times, 2 kB asked for ahead.
__attribute__((visibility("default"))) float es_read(const char *data, int64_t bytes, int64_t rounds) {
  vf sum[8] = {0};
  for (int64_t r = 0; r < rounds; r++) {
    for (int64_t at = 0; at < bytes; at += 16 * (int64_t)sizeof(vf)) {
#pragma unroll
      for (int i = 0; i < 16; i++) {
        if (i * sizeof(vf) % 64 == 0) __builtin_prefetch(data + at + i * sizeof(vf) + 2048);
        sum[i % 8] += *(const vf *)(data + at + i * sizeof(vf));
      }
    }
    __asm__ volatile("" : : : "memory");  // the next round reads again
  }
  vf all = sum[0];
#pragma unroll
  for (int i = 1; i < 8; i++) all += sum[i];
  return all[0];
}
