// edgesparse-kernel: op=spmm dtype=f32 isa=sse2
// tiles: MR=1 NV=8 | MR=2 NV=4 | MR=4 NV=2
#include "spmm_f32.h"
