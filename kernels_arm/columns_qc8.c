// edgesparse-kernel: op=columns dtype=qc8 isa=neon,neon_dotprod
#include "dot_qc8.h"
#include "columns_qc8.h"
