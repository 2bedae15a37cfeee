// edgesparse-kernel: op=spmm dtype=f32 isa=avx2
// tiles: MR=16 NP=6
#include "spmm_channels_f32.h"
