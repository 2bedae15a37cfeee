// edgesparse-kernel: op=rows_many dtype=qc8 isa=scalar
#include "dot_qc8.h"
#include "rows_many_qc8.h"
