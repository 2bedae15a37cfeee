// Which function each call of model.c means, per ISA. Compile model.c with -DES_ISA_<isa>.
#ifndef KERNELS_H
#define KERNELS_H
#include <stdint.h>

#ifdef ES_ISA_neon
#define ES_MODEL_CALLS model_calls__neon
void es_copy_b4__neon(const uint32_t *x, uint32_t *y, int64_t begin, int64_t end, int64_t x_offset, int64_t y_offset, const int64_t *dims, const int64_t *x_stride, const int64_t *y_stride);
void es_spmm_f32_4x6__neon(const float *x, const float *w, const int32_t *offset, const int32_t *start, const float *bias, const float *residual, const float *slope, float *y, float *scratch, int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t rows, int64_t columns, int64_t x_row, int64_t pitch, int64_t valid, int64_t plane, int64_t y_plane, int64_t residual_plane, int64_t spare, int64_t act, float lo, float hi);
#define es_copy_b4 es_copy_b4__neon
#define es_spmm_f32_mr4 es_spmm_f32_4x6__neon
#endif
#endif
