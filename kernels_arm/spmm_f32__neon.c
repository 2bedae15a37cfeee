// edgesparse-kernel: op=spmm dtype=f32 isa=neon
// tiles: MR=1 NV=8 | MR=2 NV=8 | MR=4 NV=6 | MR=8 NV=3
#include "spmm_f32.h"
