// edgesparse-kernel: op=columns dtype=qc8 isa=avx512vnni,avx512,avx2,sse2
#include "dot_qc8.h"
#include "columns_qc8.h"
