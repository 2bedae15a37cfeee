// Which function each call of model.c means, per ISA. Compile model.c with -DES_ISA_<isa>.
#ifndef KERNELS_H
#define KERNELS_H
#include <stdint.h>

#ifdef ES_ISA_neon
#define ES_MODEL_CALLS model_calls__neon
void es_depthwise_square_f32__neon(const float *x, const float *w, const float *bias, const float *slope, float *y, float *scratch, int64_t begin, int64_t end, int64_t images, int64_t channels, int64_t multiplier, int64_t height, int64_t width, int64_t x_plane, int64_t rows, int64_t columns, int64_t y_plane, int64_t padding, int64_t kernel, int64_t stride, int64_t top, int64_t left, int64_t act, float lo, float hi);
void es_pool_avg_f32__neon(const float *x, float *y, int64_t begin, int64_t end, int64_t x_plane, int64_t y_plane, int64_t size_y, int64_t size_x, int64_t kernel_y, int64_t kernel_x, int64_t stride_y, int64_t stride_x, int64_t dilation_y, int64_t dilation_x, int64_t begin_y, int64_t begin_x, int64_t end_y, int64_t end_x, int64_t out_y, int64_t out_x, int64_t include_pad);
void es_softmax_f32__neon(const float *x, float *y, int64_t begin, int64_t end, int64_t n, int64_t inner, int64_t log);
void es_spmv_f32_4__neon(const float *x, const float *w, const int32_t *offset, const int32_t *start, const float *bias, const float *residual, const float *slope, float *y, int64_t begin, int64_t end, int64_t channels, int64_t images, int64_t x_image, int64_t act, float lo, float hi);
#define es_depthwise_square_f32 es_depthwise_square_f32__neon
#define es_pool_avg_f32 es_pool_avg_f32__neon
#define es_softmax_f32 es_softmax_f32__neon
#define es_spmv_f32_mr4 es_spmv_f32_4__neon
#endif
#endif
