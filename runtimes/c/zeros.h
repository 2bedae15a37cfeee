// How many zeros each layer writes: --zeros CALL:OFFSET:PLANES:ELEMENTS:PITCH:BYTES[,...], in the order of the calls.
#ifndef ES_ZEROS_H
#define ES_ZEROS_H
#include "options.h"
#include "pool.h"

typedef struct {
  uint64_t call, offset, planes, elements, pitch, bytes;  // as Held in manifest.py; of a value: 2 or 4
} es_place;

// The next place of the list, which begins at *list; 0 at its end.
ES_SMALL int es_next_place(const char **list, es_place *place) {
  uint64_t *const fields[] = {&place->call, &place->offset, &place->planes, &place->elements, &place->pitch, &place->bytes};
  const char *p = *list;
  if (!*p) return 0;
  for (int i = 0; i < 6; i++) {
    char word[20];
    uint32_t length = 0;
    while (*p && *p != ':' && *p != ',' && length + 1 < sizeof word) word[length++] = *p++;
    word[length] = 0;
    *fields[i] = number("--zeros ", word, UINT32_MAX);
    if (i < 5 ? *p != ':' : *p && *p != ',') fail("--zeros", " has six numbers for each place", "", 0);
    if (*p) p++;
  }
  *list = p;
  return 1;
}

static int es_fits_arena(const es_place *p) {
  const uint64_t room = es_the_model.arena_bytes;
  if ((p->bytes != 2 && p->bytes != 4) || p->offset % p->bytes || p->pitch < p->elements) return 0;
  if (!p->planes || !p->pitch) return 1;
  return p->offset <= room && p->planes <= (room - p->offset) / p->bytes / p->pitch;
}

// Floats that are 0 or -0.
static uint64_t es_count_zeros(const char *arena, const es_place *p) {
  uint64_t zeros = 0;
  for (uint64_t plane = 0; plane < p->planes; plane++) {
    const char *at = arena + p->offset + plane * p->pitch * p->bytes;
    const uint32_t *words = (const uint32_t *)at;
    const uint16_t *halves = (const uint16_t *)at;
    for (uint64_t i = 0; i < p->elements; i++) zeros += p->bytes == 4 ? !(words[i] << 1) : !(uint16_t)(halves[i] << 1);
  }
  return zeros;
}

// The members of the list `zeros` of the program's JSON document, of one run that is not timed.
ES_SMALL uint32_t es_run_for_zeros(const char *list, es_job job, uint64_t *counts, uint32_t most) {
  es_place place;
  uint32_t count = 0;
  int more = es_next_place(&list, &place);
  for (int call = 0; call < es_call_count; call++) {
    job.first = call, job.last = call + 1;
    if (es_pool_run(&job) != 0) fail("the model", " failed", "", 0);
    for (; more && place.call == (uint64_t)call; more = es_next_place(&list, &place)) {
      if (!es_fits_arena(&place)) fail("--zeros", " names a place beyond the arena", "", 0);
      if (count == most) fail("--zeros", " has too many places", "", 0);
      counts[count++] = es_count_zeros(job.arena, &place);
    }
  }
  if (more) fail("--zeros", " is not in the order of the calls, or names one that there is not", "", 0);
  return count;
}
#endif
