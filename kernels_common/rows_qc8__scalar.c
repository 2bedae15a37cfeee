// edgesparse-kernel: op=rows dtype=qc8 isa=scalar
#include "dot_qc8.h"
#include "rows_one_qc8.h"
