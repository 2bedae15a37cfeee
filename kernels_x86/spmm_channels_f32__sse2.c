// edgesparse-kernel: op=spmm dtype=f32 isa=sse2
// tiles: MR=16 NP=2
#include "spmm_channels_f32.h"
