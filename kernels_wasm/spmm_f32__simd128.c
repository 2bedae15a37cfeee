// edgesparse-kernel: op=spmm dtype=f32 isa=simd128
// tiles: MR=1 NV=4 | MR=2 NV=4 | MR=4 NV=2
#include "spmm_wasm_f32.h"
