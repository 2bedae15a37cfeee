// edgesparse-kernel: op=columns dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"
#include "columns_qc8.h"
