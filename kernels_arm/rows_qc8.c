// edgesparse-kernel: op=rows dtype=qc8 isa=neon,neon_dotprod
#include "dot_qc8.h"
#include "rows_one_qc8.h"
