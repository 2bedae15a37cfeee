// edgesparse-kernel: op=spmv dtype=f32 isa=scalar
// tiles: MR=1 | MR=2 | MR=4 | MR=8 | MR=16
#include "spmv_f32.h"
