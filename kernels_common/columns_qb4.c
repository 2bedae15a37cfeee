// edgesparse-kernel: op=columns dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "columns_qb4.h"

enum { MOST = 8192 };          // outputs at a time, whose sums stay in the caches
enum { AHEAD_BYTES = 8192 };  // of active weights, into the L2 cache: its many outstanding reads make up for gaps

// The lines of 64 bytes to be prefetched: those of one active row after the other.
typedef struct { const uint8_t *w; const int32_t *index; int64_t pitch, lines, entry, line, all; } es_ahead;

ES_INLINE void prefetch(es_ahead *a) {
  if (a->entry >= a->all) return;
  // one after the other, as hardware expects it, they may as well come close; with gaps the L2 cache has more room
  if (a->index) __builtin_prefetch(a->w + a->index[a->entry] * a->pitch + 64 * a->line, 0, 2);
  else __builtin_prefetch(a->w + a->entry * a->pitch + 64 * a->line);
  if (++a->line == a->lines) a->line = 0, a->entry++;
}

// f[0..127] += scale * wscale * what 4 * quads entries of one block add; row i of w is i * pitch bytes away.
ES_INLINE void strip(
    float *f, const uint8_t *w, int64_t pitch, const int32_t *index, int64_t first, int64_t quads, const int8_t *q,
    int32_t sum, float scale, const uint16_t *wscale, es_ahead *ahead) {
  for (int m = 0; m < ES_PARTS; m++) {
    vs low[4], high[4];
    for (int k = 0; k < 4; k++) low[k] = high[k] = (vs){0};
    for (int64_t j = first; j < first + 4 * quads; j += 4) {
      vb row[4], u[4];
      for (int r = 0; r < 4; r++) {
        row[r] = load_vb(w + (index ? index[j + r] : j + r) * pitch + 4 * ES_VL * m);
        if (m == 0) prefetch(ahead);
      }
      interleave(row[0], row[1], row[2], row[3], u);
      const vb x = splat_quad(q + j);
      for (int k = 0; k < 4; k++) {
        low[k] = dot(low[k], low_nibbles(u[k]), x);
        high[k] = dot(high[k], high_nibbles(u[k]), x);
      }
    }
    const vi zero = splat_vi(8 * sum);
    for (int k = 0; k < 4; k++) {
      float *to = f + es_output(k, m);
      const uint16_t *of = wscale + es_output(k, m);
      const vf one = to_float(lanes(low[k]) - zero), two = to_float((lanes(high[k]) >> ES_HIGH) - zero);
      store_vf(to, load_vf(to) + one * (half_vf(of) * scale));
      store_vf(to + 64, load_vf(to + 64) + two * (half_vf(of + 64) * scale));
    }
  }
}

ES_INLINE void columns(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int32_t *start,
    const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block,
    int64_t begin, int64_t end) {
  const int64_t width = (outputs + 127) / 128 * 128, pitch = width / 2, rows = (inputs + 31) / 32 * 32;
  const int64_t blocks = (inputs + block - 1) / block, groups = index ? blocks : rows / 32;
  const int64_t wide = !index && block == 64, all = index ? start[blocks] : rows;
  const int64_t strips = end - begin, turns = (128 * strips + MOST - 1) / MOST;
  for (int64_t turn = 0; turn < turns; turn++) {
    const int64_t from = 128 * (begin + strips * turn / turns);
    const int64_t some = 128 * (begin + strips * (turn + 1) / turns) - from;
    float f[MOST];
    es_zero(f, some);
    es_ahead ahead = {w + from / 2, index, pitch, some / 128, 0, 0, all};
    // a block is read strip by strip: all of its rows have to be there, and more
    const int64_t lines = (all / (groups ? groups : 1) + 1) * ahead.lines + AHEAD_BYTES / 64;
    for (int64_t i = 0; i < lines; i++) prefetch(&ahead);
    for (int64_t g = 0; g < groups; g++) {
      const int64_t first = index ? start[g] : 32 * g, last = index ? start[g + 1] : 32 * g + 32;
      // 16-bit sums have room for so many entries at a time
      for (int64_t j = first; j < last; j += 4 * ES_QUADS) {
        const int64_t quads = last - j < 4 * ES_QUADS ? (last - j) / 4 : ES_QUADS;
        for (int64_t o = 0; o < some; o += 128)
          strip(
              f + o, w + (from + o) / 2, pitch, index, j, quads, q, j == first ? sum[g] : 0, scale[g],
              wscale + (g >> wide) * width + from + o, &ahead);
      }
    }
    const int64_t left = outputs - from, count = left < some ? left : some;
    for (int64_t i = 0; i < count; i += ES_VL)
      store_outputs(y + from + i, load_vf(f + i), bias ? bias + from + i : 0, count - i);
  }
}

// y[o] = bias[o] + sum_j w[o, index[j]] * x[j], strips begin..end-1 of 128 outputs.
//
// w: (inputs, outputs / 2), the former rounded up to 32, the latter to 128; columns_qb4.h says how outputs lie. wscale:
// (inputs / block, outputs), rounded up. Entries start[b]..start[b+1]-1, a multiple of 4, are of block b (32 or 64
// inputs): x = scale[b] * q, sum[b] the sum of q. Without index and start entry j is input j, in groups of 32.
// bias: (outputs), or null. y: (outputs).
void ES_KERNEL(columns_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int32_t *start,
    const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block,
    int64_t begin, int64_t end) {
  if (index) columns(w, wscale, bias, index, start, q, scale, sum, y, inputs, outputs, block, begin, end);
  else columns(w, wscale, bias, 0, 0, q, scale, sum, y, inputs, outputs, block, begin, end);
}
