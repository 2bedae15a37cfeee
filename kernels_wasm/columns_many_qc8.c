// edgesparse-kernel: op=columns_many dtype=qc8 isa=simd128,relaxed
#include "dot_qc8.h"
#include "columns_many_qc8.h"
