// edgesparse-kernel: op=dense dtype=qc8 isa=neon,neon_dotprod
#include "dot_qc8.h"
#include "dense_one_qc8.h"
