// edgesparse-kernel: op=spmm dtype=f32 isa=avx512
// tiles: MR=16 NP=25
#include "spmm_channels_f32.h"
