// edgesparse-kernel: op=blocks_many dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon
#include "blocks_qb4.h"

ES_INLINE void some(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, int64_t first, int64_t last, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t tokens, int64_t q_pitch,
    int64_t y_pitch, int64_t count) {
  vf f[8][ES_SIDE] = {};
  for (int64_t b = first; b < last; b++) {
    const es_block block = load_block(w + 32 * b, wscale + 4 * b);
    const int64_t c = column[b];
    for (int64_t t = 0; t < tokens; t++) {
      const int64_t at = t * (q_pitch / 16) + c;
      add_block(f[t], &block, q + t * q_pitch + 16 * c, scale[at], offset[at]);
    }
  }
  for (int64_t t = 0; t < tokens; t++) store_block(y + t * y_pitch, f[t], bias, count);
}

// blocks_qb4 for several tokens: token t has q + t * q_pitch (a multiple of 16), scale and offset + t * q_pitch / 16,
// and y + t * y_pitch.
void ES_KERNEL(blocks_many_qb4)(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, const int32_t *start, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t tokens, int64_t q_pitch,
    int64_t y_pitch, int64_t outputs, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; g++)
    for (int64_t t = 0; t < tokens;) {
      const int64_t at = t * (q_pitch / 16), many = tokens - t >= 8 ? 8 : 1;
      const int8_t *x = q + t * q_pitch;
      const float *of = bias ? bias + 4 * g : 0;
      float *to = y + t * y_pitch + 4 * g;
      const int64_t first = start[g], last = start[g + 1], left = outputs - 4 * g;
      if (many == 8)
        some(w, wscale, column, first, last, of, x, scale + at, offset + at, to, 8, q_pitch, y_pitch, left);
      else some(w, wscale, column, first, last, of, x, scale + at, offset + at, to, 1, q_pitch, y_pitch, left);
      t += many;
    }
}
