#ifndef ES_START_H
#define ES_START_H
#include <stdint.h>

enum { ES_AT_PAGESZ = 6, ES_AT_HWCAP = 16, ES_AT_HWCAP2 = 26 };

// What the kernel says about this machine (getauxval of a libc); 0 when it does not say.
uint64_t es_auxiliary_value(uint64_t type);

int es_main(int argc, const char *const *argv);
#endif
