// What kernels that are written once for floats and halves call what differs; for halves: half.h in kernels_arm/.
#ifndef ES_ELEMENT_F32_H
#define ES_ELEMENT_F32_H
#include "activation_f32.h"

#define ES_FLOATS
#define ES_T float  // the type of activations and weights in memory
// Without their width: vectors that are computed with, masks for them, and what is done with them.
#define ES_V vf
#define ES_M vi
#define ES_LOAD load
#define ES_STORE store
#define ES_SPLAT splat
#define ES_CLAMP es_clamp
// Of rows: the activation, zeros.
#define ES_ACT_ROW es_act_row
#define ES_ZERO es_zero
#endif
