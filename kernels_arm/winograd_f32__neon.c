// edgesparse-kernel: op=winograd dtype=f32 isa=neon
// tiles: MR=4 M=2 | MR=4 M=4 | MR=8 M=2 | MR=8 M=4
#define NV 3
#include "winograd_f32.h"
