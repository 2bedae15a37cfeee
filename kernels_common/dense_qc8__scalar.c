// edgesparse-kernel: op=dense dtype=qc8 isa=scalar
#include "dot_qc8.h"
#include "dense_one_qc8.h"
