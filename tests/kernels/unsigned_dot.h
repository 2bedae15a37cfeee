// Engines that multiply signed bytes with unsigned ones, as those on x86 with AVX-VNNI do, made of what all engines have.
// Nothing is multiplied in 16 bits otherwise.
#include <stdint.h>
#include <wasm_simd128.h>

static inline v128_t es_unsigned_dot(v128_t q, v128_t w, v128_t s) {
  const v128_t low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(q), wasm_u16x8_extend_low_u8x16(w));
  const v128_t high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(q), wasm_u16x8_extend_high_u8x16(w));
  const v128_t even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  return wasm_i32x4_add(s, wasm_i32x4_add(even, odd));
}
static inline v128_t es_never(v128_t a, v128_t b) {
  (void)b;
  __builtin_trap();
  return a;
}
#define wasm_i32x4_relaxed_dot_i8x16_i7x16_add es_unsigned_dot
#define wasm_i32x4_dot_i16x8 es_never
