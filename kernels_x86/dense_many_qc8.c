// edgesparse-kernel: op=dense_many dtype=qc8 isa=avx512vnni,avx512,avx2,sse2
#include "dot_qc8.h"
#include "dense_many_qc8.h"
