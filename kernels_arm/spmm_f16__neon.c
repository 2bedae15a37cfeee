// edgesparse-kernel: op=spmm dtype=f16 isa=neon
// tiles: MR=1 NV=8 | MR=2 NV=8 | MR=4 NV=5 | MR=8 NV=3
#include "spmm_f16.h"
