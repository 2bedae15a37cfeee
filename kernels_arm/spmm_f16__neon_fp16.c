// edgesparse-kernel: op=spmm dtype=f16 isa=neon_fp16
// tiles: MR=1 NV=8 | MR=2 NV=8 | MR=4 NV=6 | MR=8 NV=3
#include "spmm_f16.h"
