// edgesparse-kernel: op=columns_many dtype=qc8 isa=avx512vnni,avx512,avx2,sse2
#include "dot_qc8.h"
#include "columns_many_qc8.h"
