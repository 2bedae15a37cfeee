// edgesparse-kernel: op=spmm dtype=f32 isa=avx512
// tiles: MR=1 NV=8 | MR=2 NV=8 | MR=4 NV=4
#include "spmm_f32.h"
