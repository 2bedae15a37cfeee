// Several tokens at once: up to 4 panels of 16 outputs, the weights of 32 inputs of which are unpacked for up to 32
// tokens. What includes it says where those are:
//
// bring(quads, w, pitch, inputs): of weights that begin at w, quads of up to 32 inputs for 16 outputs.
#ifndef ES_MANY_QC8_H
#define ES_MANY_QC8_H
#include "dot_qc8.h"

enum { AT_ONCE = 32, PANELS = 4, VECTORS = 4 * QUADS };

// Where panels and groups of weights begin, in bytes from w: panel * p + group * g.
typedef struct { const uint8_t *w; int64_t panel, group, pitch; } places;
typedef struct { const int8_t *q; const float *scale; const int32_t *sum; int64_t pitch; } activations;

// f[t] += the products of 32 inputs with 16 outputs for tokens t, two at a time; f has room for one more.
ES_INLINE void add_tokens(
    vf4 (*f)[4 * PANELS], const v128_t *u, const int32_t *x, const float *scale, const int32_t *sum, int32_t groups,
    int32_t tokens, way how, const int words) {
  const uint32_t quads = words ? 2 * QUADS : QUADS;
#ifdef __wasm_relaxed_simd__
  const v128_t flip = flip_of(how);
#else
  (void)how, (void)sum;
#endif
  for (int32_t t = 0; t < tokens; t += 2, x += 2 * quads, scale += 2 * groups, sum += 2 * groups, f += 2) {
    const int32_t more = tokens - t > 1, second = more ? groups : 0;  // the last one alone: twice, once to nowhere
    const uint32_t other = more ? quads : 0;
    vi4 s[2][4];
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      s[0][v] = s[1][v] = (vi4){0};
#ifdef __wasm_relaxed_simd__
      if (!words) s[0][v] = start_of(sum[0], how), s[1][v] = start_of(sum[second], how);
#endif
    }
    const int32_t *at = x;
#pragma unroll 1
    for (const v128_t *j = u, *end = u + 4 * quads; j != end; j += 4, at++) {
      ES_STAY(j);
      ES_STAY(at);
      const v128_t one = wasm_v128_load32_splat(at), two = wasm_v128_load32_splat(at + other);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++) {
        const v128_t weights = wasm_v128_load(j + v);
        if (words) s[0][v] = add_pairs(s[0][v], weights, one), s[1][v] = add_pairs(s[1][v], weights, two);
#ifdef __wasm_relaxed_simd__
        else s[0][v] = add_quads(s[0][v], weights, one, flip), s[1][v] = add_quads(s[1][v], weights, two, flip);
#endif
        ES_STAY(s[0][v]);
        ES_STAY(s[1][v]);
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
      const float by = scale[i ? second : 0] * (words ? 1.0f / 256 : 1);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++) f[i][v] += __builtin_convertvector(s[i][v], vf4) * by;
    }
  }
}

// `own` outputs, up to PANELS x 16, of up to AT_ONCE tokens.
ES_INLINE void panels(
    places at, const float *wscale, const float *bias, activations x, float *y, int64_t y_pitch, int32_t tokens,
    int64_t inputs, int64_t own, way how, const int words) {
  vf4 f[AT_ONCE + 1][4 * PANELS];
  int32_t room[AT_ONCE * 2 * QUADS];
  v128_t u[VECTORS], pairs[2 * VECTORS];
  const int32_t apart = (int32_t)(x.pitch / ENTRIES), count = (int32_t)((own + PANEL - 1) / PANEL);
  for (int32_t t = 0; t <= tokens; t++)
    for (int32_t v = 0; v < 4 * PANELS; v++) f[t][v] = (vf4){0};
  for (int64_t i = 0, g = 0; i < inputs; i += ENTRIES, g++) {
    for (int32_t t = 0; t < tokens; t++) {
      const int8_t *q = x.q + t * x.pitch + i;
      if (words) {
        put_pairs(room + t * 2 * QUADS, q);
        continue;
      }
#pragma unroll
      for (uint32_t h = 0; h < 2; h++) wasm_v128_store(room + t * QUADS + 4 * h, wasm_v128_load(q + 16 * h));
    }
    ES_IN_ORDER();
    for (int32_t p = 0; p < count; p++) {
      bring(u, at.w + p * at.panel + g * at.group, at.pitch, inputs - i);
      if (words)
#pragma unroll 1
        for (uint32_t v = 0; v < VECTORS; v++)
          pairs[v] = even256(u[v]), pairs[VECTORS + v] = odd256(u[v]);
      add_tokens((vf4(*)[4 * PANELS])(f[0] + 4 * p), words ? pairs : u, room, x.scale + g, x.sum + g, apart, tokens,
                 how, words);
    }
  }
  for (int32_t t = 0; t < tokens; t++)
    for (int32_t p = 0; p < count; p++) {
      const int64_t o = PANEL * p;
      finish_panel(y + t * y_pitch + o, f[t] + 4 * p, wscale + o, bias ? bias + o : 0, own - o);
    }
}

ES_INLINE void all_tokens(
    places at, const float *wscale, const float *bias, activations x, float *y, int64_t y_pitch, int64_t tokens,
    int64_t inputs, int64_t own) {
  const way how = es_way();
  for (; tokens > 0; tokens -= AT_ONCE, y += AT_ONCE * y_pitch) {
    const int32_t some = tokens < AT_ONCE ? (int32_t)tokens : AT_ONCE;
    if (how == IN_WORDS) panels(at, wscale, bias, x, y, y_pitch, some, inputs, own, how, 1);
    else panels(at, wscale, bias, x, y, y_pitch, some, inputs, own, how, 0);
    x.q += AT_ONCE * x.pitch, x.scale += AT_ONCE * x.pitch / ENTRIES, x.sum += AT_ONCE * x.pitch / ENTRIES;
  }
}
#endif
