// Which function each call of model.c means, per ISA. Compile model.c with -DES_ISA_<isa>.
#ifndef KERNELS_H
#define KERNELS_H
#include <stdint.h>

#ifdef ES_ISA_relaxed
#define ES_MODEL_CALLS model_calls__relaxed
void es_planes_f32__relaxed(const float *x, float *y, int64_t begin, int64_t end, int64_t channels, int64_t height, int64_t width, int64_t x_plane, int64_t rows, int64_t pitch, int64_t stride_y, int64_t stride_x, int64_t phases, const int64_t *dy, const int64_t *dx, int64_t slack);
void es_spmm_f32_4x2__relaxed(const float *x, const float *w, const int32_t *offset, const int32_t *start, const float *bias, const float *residual, const float *slope, float *y, float *scratch, int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid, int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo, float hi);
#define es_planes_f32 es_planes_f32__relaxed
#define es_spmm_f32_mr4 es_spmm_f32_4x2__relaxed
#endif

#ifdef ES_ISA_simd128
#define ES_MODEL_CALLS model_calls__simd128
void es_planes_f32__simd128(const float *x, float *y, int64_t begin, int64_t end, int64_t channels, int64_t height, int64_t width, int64_t x_plane, int64_t rows, int64_t pitch, int64_t stride_y, int64_t stride_x, int64_t phases, const int64_t *dy, const int64_t *dx, int64_t slack);
void es_spmm_f32_4x2__simd128(const float *x, const float *w, const int32_t *offset, const int32_t *start, const float *bias, const float *residual, const float *slope, float *y, float *scratch, int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid, int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo, float hi);
#define es_planes_f32 es_planes_f32__simd128
#define es_spmm_f32_mr4 es_spmm_f32_4x2__simd128
#endif
#endif
