// edgesparse-kernel: op=columns dtype=qc8 isa=scalar
#include "dot_qc8.h"
#include "columns_qc8.h"
