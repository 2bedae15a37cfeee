// edgesparse-kernel: op=dense_many dtype=qc8 isa=scalar
#include "dot_qc8.h"
#include "dense_many_qc8.h"
