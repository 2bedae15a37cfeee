#ifndef ES_START_H
#define ES_START_H
#include <stdint.h>

// What the kernel says about this machine, by AT_ number, as in a libc; 0 when it does not say. hwcap.c asks.
unsigned long getauxval(unsigned long type);

int es_main(int argc, const char *const *argv);
#endif
