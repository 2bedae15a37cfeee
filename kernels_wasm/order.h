// Nothing is moved across, or kept elsewhere. V8 has 15 registers, and within a block loads everything first: loops of 4
// loads, whose sums stay in registers, are 1.4 (4 bits) to twice (8 bits) as fast as the same unrolled. Of pointers that
// the compiler may not count by, offsets are part of the load.
#ifndef ES_ORDER_H
#define ES_ORDER_H
#define ES_STAY(a) __asm__ volatile("" : "+r"(a))
#define ES_IN_ORDER() __asm__ volatile("" ::: "memory")
#endif
