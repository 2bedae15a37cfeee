// y[y_offset + i . y_stride] = x[x_offset + i . x_stride] for all i < dims; six loops, outermost first.
// The including file defines T (an element) and, for elements that fit a vector, ES_TILE.
#include "es.h"

// n elements side by side on both sides.
ES_INLINE void copy_row(const T *x, T *y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i];
}

// A transposed plane, y[i * step + j] = x[j * stride + i] with i < rows and j < columns, in squares of 4 that
// go through registers, in strips of 16 columns so that lines of x are used whole while they are cached.
ES_INLINE void copy_turned(const T *x, T *y, int64_t rows, int64_t columns, int64_t stride, int64_t step) {
  for (int64_t j0 = 0; j0 < columns; j0 += 16) {
    int64_t j1 = j0 + 16 < columns ? j0 + 16 : columns, i = 0;
#ifdef ES_TILE
    for (; i + 4 <= rows; i += 4) {
      int64_t j = j0;
      for (; j + 4 <= j1; j += 4) {
        const float *from = (const float *)x + j * stride + i;
        vf4 a = load4(from), b = load4(from + stride), c = load4(from + 2 * stride), d = load4(from + 3 * stride);
        vf4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        vf4 ef = __builtin_shufflevector(a, b, 2, 6, 3, 7), gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        float *to = (float *)y + i * step + j;
        store4(to, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
        store4(to + step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
        store4(to + 2 * step, __builtin_shufflevector(ef, gh, 0, 1, 4, 5));
        store4(to + 3 * step, __builtin_shufflevector(ef, gh, 2, 3, 6, 7));
      }
      for (; j < j1; j++)
        for (int64_t k = 0; k < 4; k++) y[(i + k) * step + j] = x[j * stride + i + k];
    }
#endif
    for (; i < rows; i++)
      for (int64_t j = j0; j < j1; j++) y[i * step + j] = x[j * stride + i];
  }
}

// `rows` rows of n elements each.
ES_INLINE void copy_rows(const T *x, T *y, int64_t rows, int64_t n, const int64_t *x_stride, const int64_t *y_stride) {
  const int64_t sx = x_stride[5], sy = y_stride[5];
  if (sx != 1 && sy == 1 && x_stride[4] == 1) {
    copy_turned(x, y, rows, n, sx, y_stride[4]);
    return;
  }
  for (int64_t e = 0; e < rows; e++, x += x_stride[4], y += y_stride[4]) {
    if (sx == 1 && sy == 1) copy_row(x, y, n);
    else if (sx == 0 && sy == 1) for (int64_t i = 0; i < n; i++) y[i] = *x;
    else for (int64_t i = 0; i < n; i++) y[i * sy] = x[i * sx];
  }
}

enum { ROWS = 16, COLUMNS = 1024 };  // of an item (as in ops/copy.py)

// Items begin..end-1: the two innermost loops are cut into ROWS x COLUMNS, for each turn of the others.
ES_INLINE void copy(const T *x, T *y, int64_t begin, int64_t end, int64_t x_offset, int64_t y_offset, const int64_t *dims,
                    const int64_t *x_stride, const int64_t *y_stride) {
  const int64_t down = (dims[4] + ROWS - 1) / ROWS, across = (dims[5] + COLUMNS - 1) / COLUMNS;
  for (int64_t item = begin; item < end;) {
    int64_t turn = item / across / down;
    const int64_t row = item / across % down * ROWS, column = item % across * COLUMNS;
    const T *from = x + x_offset + row * x_stride[4] + column * x_stride[5];
    T *to = y + y_offset + row * y_stride[4] + column * y_stride[5];
    for (int i = 3; i >= 0; turn /= dims[i], i--) {
      from += turn % dims[i] * x_stride[i];
      to += turn % dims[i] * y_stride[i];
    }
    // as many items as there are below each other, where one is as wide as all
    int64_t items = 1, rows = dims[4] - row < ROWS ? dims[4] - row : ROWS;
    if (across == 1) {
      items = end - item < down - row / ROWS ? end - item : down - row / ROWS;
      rows = items * ROWS < dims[4] - row ? items * ROWS : dims[4] - row;
    }
    copy_rows(from, to, rows, dims[5] - column < COLUMNS ? dims[5] - column : COLUMNS, x_stride, y_stride);
    item += items;
  }
}
