// edgesparse-kernel: op=winograd dtype=f32 isa=relaxed
// tiles: MR=4 M=2 | MR=4 M=4
#define NV 2
#include "winograd_f32.h"
