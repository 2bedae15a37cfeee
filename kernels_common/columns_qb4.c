// edgesparse-kernel: op=columns dtype=qb4 isa=avx512vnni,avx512,avx2,sse2,scalar,neon_dotprod,neon,simd128,relaxed
#include "columns_qb4.h"

#define MOST 512  // outputs of a tile
#define AHEAD 32  // entries: whose weights are prefetched

// f[0..127] += scale * wscale * what 4 * quads entries of one block add; their rows are row[..] * pitch bytes apart.
ES_INLINE void strip(
    float *f, const uint8_t *w, int64_t pitch, const int32_t *index, int64_t first, int64_t quads, const int8_t *q,
    int32_t sum, float scale, const uint16_t *wscale) {
  for (int m = 0; m < ES_PARTS; m++) {
    vs low[4], high[4];
    for (int k = 0; k < 4; k++) low[k] = high[k] = (vs){0};
    for (int64_t j = first; j < first + 4 * quads; j += 4) {
      const uint8_t *at = w + 4 * ES_VL * m;
      vb row[4], u[4];
      for (int r = 0; r < 4; r++) row[r] = load_vb(at + (index ? index[j + r] : j + r) * pitch);
      interleave(row[0], row[1], row[2], row[3], u);
      const vb x = splat_quad(q + j);
      for (int k = 0; k < 4; k++) {
        low[k] = dot(low[k], low_nibbles(u[k]), x);
        high[k] = dot(high[k], high_nibbles(u[k]), x);
      }
    }
    const vi zero = splat_vi(8 * sum);
    for (int k = 0; k < 4; k++) {
      const int o = es_output(k, m);
      // without a vector of 4 outputs they are one by one
      const vf one = to_float(lanes(low[k]) - zero), two = to_float((lanes(high[k]) >> ES_HIGH) - zero);
      store_vf(f + o, load_vf(f + o) + one * (half_vf(wscale + o) * scale));
      store_vf(f + 64 + o, load_vf(f + 64 + o) + two * (half_vf(wscale + 64 + o) * scale));
    }
  }
}

// y[o] = bias[o] + sum_j w[o, index[j]] * x[j], tiles begin..end-1 of `tile` outputs (a multiple of 128, <= 512).
//
// w: (tiles, inputs, width / 2), the inputs rounded up to 32, width: tile, of the last tile what is left, rounded up to
// 128; columns_qb4.h says how outputs lie. wscale: (tiles, inputs / block, width), the blocks rounded up.
// Entries start[b]..start[b+1]-1, a multiple of 4, are of block b, x = scale[b] * q, sum[b] their sum. Without index
// and start entry j is input j: all count, in groups of 32. bias: (outputs), or null. y: (outputs).
ES_INLINE void columns(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int32_t *start,
    const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block,
    int64_t tile, int64_t begin, int64_t end) {
  const int64_t rows = (inputs + 31) / 32 * 32, blocks = (inputs + block - 1) / block;
  const int64_t groups = index ? blocks : rows / 32, wide = !index && block == 64, all = index ? start[blocks] : rows;
  for (int64_t t = begin; t < end; t++) {
    const int64_t left = outputs - t * tile, width = left < tile ? (left + 127) / 128 * 128 : tile;
    const uint8_t *at = w + t * tile * (rows / 2);
    const uint16_t *of = wscale + t * tile * blocks;
    float f[MOST];
    es_zero(f, width);
    for (int64_t g = 0; g < groups; g++) {
      const int64_t first = index ? start[g] : 32 * g, last = index ? start[g + 1] : 32 * g + 32;
      for (int64_t j = first + AHEAD; j < last + AHEAD && j < all; j++)
        for (int64_t i = 0; i < width / 2; i += 64) __builtin_prefetch(at + (index ? index[j] : j) * (width / 2) + i);
      // 16-bit sums have room for so many entries at a time
      for (int64_t j = first; j < last; j += 4 * ES_QUADS) {
        const int64_t quads = last - j < 4 * ES_QUADS ? (last - j) / 4 : ES_QUADS;
        for (int64_t o = 0; o < width; o += 128)
          strip(f + o, at + o / 2, width / 2, index, j, quads, q, j == first ? sum[g] : 0, scale[g],
                of + (g >> wide) * width + o);
      }
    }
    const int64_t count = left < width ? left : width;
    for (int64_t i = 0; i < count; i += ES_VL) {
      const int64_t o = t * tile + i;
      store_outputs(y + o, load_vf(f + i), bias ? bias + o : 0, count - i);
    }
  }
}

void ES_KERNEL(columns_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int32_t *index, const int32_t *start,
    const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block,
    int64_t tile, int64_t begin, int64_t end) {
  if (index) columns(w, wscale, bias, index, start, q, scale, sum, y, inputs, outputs, block, tile, begin, end);
  else columns(w, wscale, bias, 0, 0, q, scale, sum, y, inputs, outputs, block, tile, begin, end);
}
