// edgesparse-kernel: op=matmul dtype=f32 isa=any
#include "activation_f32.h"

// Register tile: up to 4 rows of a times NV vectors of b.
#if ES_VL == 16 || defined(__aarch64__)
#define NV 4
#else
#define NV 2
#endif

typedef struct {
  const float *a, *b;
  float *y;
  int64_t k, a_row, a_column, b_row, y_row, act;
  float alpha, lo, hi;
} es_product;

// y[0..rows, 0..] of `n` vectors of W floats; the last one begins at column `last`, so that nothing is read behind b.
#define MATMUL_TILE(W)                                                                                               \
  ES_INLINE void tile##W(const es_product *p, const int rows, const int n, int64_t last) {                           \
    vf##W acc[4][NV];                                                                                                \
    _Pragma("unroll") for (int i = 0; i < rows; i++)                                                                 \
      _Pragma("unroll") for (int v = 0; v < n; v++) acc[i][v] = splat##W(0);                                         \
    const float *a = p->a, *b = p->b;                                                                                \
    for (int64_t k = 0; k < p->k; k++, a += p->a_column, b += p->b_row) {                                            \
      vf##W in[NV];                                                                                                  \
      _Pragma("unroll") for (int v = 0; v < n; v++) in[v] = load##W(b + (v == n - 1 ? last : v * W));                \
      _Pragma("unroll") for (int i = 0; i < rows; i++) {                                                             \
        vf##W w = splat##W(a[i * p->a_row]);                                                                         \
        _Pragma("unroll") for (int v = 0; v < n; v++) acc[i][v] += w * in[v];                                        \
      }                                                                                                              \
    }                                                                                                                \
    _Pragma("unroll") for (int i = 0; i < rows; i++)                                                                 \
      _Pragma("unroll") for (int v = 0; v < n; v++)                                                                  \
        store##W(p->y + i * p->y_row + (v == n - 1 ? last : v * W),                                                  \
                 es_act##W(acc[i][v] * p->alpha, p->act, p->lo, p->hi));                                             \
  }                                                                                                                  \
  static void columns##W(es_product p, int64_t n, const int rows) {                                                  \
    int64_t j = 0;                                                                                                   \
    for (; n - j > NV * W; j += NV * W, p.b += NV * W, p.y += NV * W) {                                              \
      if (rows == 4) tile##W(&p, 4, NV, (NV - 1) * W);                                                               \
      else tile##W(&p, 1, NV, (NV - 1) * W);                                                                         \
    }                                                                                                                \
    for (; n - j > W; j += W, p.b += W, p.y += W) {                                                                  \
      if (rows == 4) tile##W(&p, 4, 1, 0);                                                                           \
      else tile##W(&p, 1, 1, 0);                                                                                     \
    }                                                                                                                \
    /* n >= W: the last vector is moved left, over columns that are there already */                                 \
    p.b += n - j - W, p.y += n - j - W;                                                                              \
    if (rows == 4) tile##W(&p, 4, 1, 0);                                                                             \
    else tile##W(&p, 1, 1, 0);                                                                                       \
  }
MATMUL_TILE(1)
#if ES_VL >= 4
MATMUL_TILE(4)
#endif
#if ES_VL >= 8
MATMUL_TILE(8)
#endif
#if ES_VL >= 16
MATMUL_TILE(16)
#endif

// One column of b whose elements are neighbours: the sum of a row times that column, four vectors at a time.
static void dots(es_product p, int64_t m) {
  for (int64_t i = 0; i < m; i++, p.a += p.a_row, p.y++) {
    vf acc[4] = {splat_vf(0), splat_vf(0), splat_vf(0), splat_vf(0)};
    int64_t k = 0;
    for (; k + 4 * ES_VL <= p.k; k += 4 * ES_VL)
      for (int c = 0; c < 4; c++) acc[c] += load_vf(p.a + k + c * ES_VL) * load_vf(p.b + k + c * ES_VL);
    for (; k + ES_VL <= p.k; k += ES_VL) acc[0] += load_vf(p.a + k) * load_vf(p.b + k);
    float sum = 0;
    for (; k < p.k; k++) sum += p.a[k] * p.b[k];
    vf all = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    for (int l = 0; l < ES_VL; l++) sum += all[l];
    *p.y = es_act1((vf1){sum * p.alpha}, p.act, p.lo, p.hi)[0];
  }
}

// Rows 0..m-1 of what p.a and p.y point to.
static void product(es_product p, int64_t m, int64_t n) {
  if (n == 1 && p.b_row == 1 && p.a_column == 1) {
    dots(p, m);
    return;
  }
  for (int64_t i = 0; i < m;) {
    int rows = m - i >= 4 ? 4 : 1;
#if ES_VL >= 16
    if (n >= 16) columns16(p, n, rows);
    else
#endif
#if ES_VL >= 8
    if (n >= 8) columns8(p, n, rows);
    else
#endif
#if ES_VL >= 4
    if (n >= 4) columns4(p, n, rows);
    else
#endif
      columns1(p, n, rows);
    i += rows, p.a += rows * p.a_row, p.y += rows * p.y_row;
  }
}

// y[g, i, j] = act(alpha sum_k a[g, i, k] b[g, k, j]) for all g < dims (three loops of matrices, outermost first).
// a: element strides a_stride per g, a_row, a_column; b: b_stride per g, b_row, columns side by side;
// y: (dims, m, n) contiguous. y overlaps neither a nor b.
// Blocks begin..end-1 of 16 rows are computed, ceil(m / 16) of each matrix.
void ES_KERNEL(matmul_f32)(const float *a, const float *b, float *y, int64_t begin, int64_t end, const int64_t *dims,
                           const int64_t *a_stride, const int64_t *b_stride, int64_t m, int64_t n, int64_t k, int64_t a_row, int64_t a_column,
                           int64_t b_row, float alpha, int64_t act, float lo, float hi) {
  if (n == 0) return;
  es_product p = {a, b, y, k, a_row, a_column, b_row, n, act, alpha, lo, hi};
  const int64_t blocks = (m + 15) / 16;
  while (begin < end) {
    const int64_t matrix = begin / blocks, row = begin % blocks * 16;
    const int64_t i = matrix % dims[2], h = matrix / dims[2] % dims[1], g = matrix / dims[2] / dims[1];
    begin = (matrix + 1) * blocks < end ? (matrix + 1) * blocks : end;
    const int64_t to = (begin - matrix * blocks) * 16;
    p.a = a + g * a_stride[0] + h * a_stride[1] + i * a_stride[2] + row * a_row;
    p.b = b + g * b_stride[0] + h * b_stride[1] + i * b_stride[2];
    p.y = y + (matrix * m + row) * n;
    product(p, (to < m ? to : m) - row, n);
  }
}
