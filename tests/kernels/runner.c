// Calls kernels on buffers that end, or begin, right at unreadable memory, and reports what they wrote.
//
//   runner RUNS       execute the file RUNS, results on stdout
//   runner --has ISA  exit 0 when this CPU can run kernels of that ISA
//
// RUNS is 64-bit little-endian words: slots, bytes of each slot; runs; per run: buffers; per buffer
// bytes, kind and (kinds INPUT and BOTH) the data; calls; per call kernel, arguments; per argument a tag
// (1: the value is the number of a buffer) and a value. Per run and placement the result is a status word
// and the data of the OUTPUT and BOTH buffers. Data is padded to whole words.
#define ES_ASK_HWCAP
#include "isa.h"
#include "start.h"
#include "sys.h"

enum { INPUT = 0, OUTPUT = 1, SCRATCH = 2, BOTH = 3 };
enum { MAX_BUFFERS = 64, MAX_ARGUMENTS = 64, PAGE = 4096, AROUND = 256 };
enum { INPUT_CHANGED = 1000, WRITTEN_OUTSIDE = 2000 };  // plus the number of the buffer

void es_test_call(uint64_t kernel, const uint64_t *arguments);  // generated

typedef struct { uint8_t *first, *last; } slot;
typedef struct { uint8_t *at; uint64_t bytes, kind; const uint8_t *data; } buffer;

static void write_all(const uint8_t *from, uint64_t bytes) {
  while (bytes) {
    int64_t n = sys_write(1, from, bytes);
    if (n <= 0) sys_exit(3);
    from += n, bytes -= (uint64_t)n;
  }
}

static slot new_slot(uint64_t bytes) {
  uint64_t room = (bytes + AROUND + PAGE - 1) / PAGE * PAGE;
  int64_t base = sys_mmap(room + 2 * PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (base < 0 && base > -4096) sys_exit(4);
  uint8_t *first = (uint8_t *)base + PAGE;
  if (sys_mprotect(first, room, PROT_READ | PROT_WRITE)) sys_exit(5);
  return (slot){first, first + room};
}

static int around(const slot *s, const buffer *b, int check) {
  uint8_t *from = b->at - s->first > AROUND ? b->at - AROUND : s->first, *end = b->at + b->bytes;
  uint8_t *to = s->last - end > AROUND ? end + AROUND : s->last;
  for (uint8_t *p = from; p < to; p++) {
    if (p == b->at) p = end;
    if (p >= to) break;
    if (!check) *p = 0xff;
    else if (*p != 0xff) return 1;
  }
  return 0;
}

static int differ(const uint8_t *a, const uint8_t *b, uint64_t n) {
  for (uint64_t i = 0; i < n; i++)
    if (a[i] != b[i]) return 1;
  return 0;
}

static void place(const slot *s, buffer *b, int at_end) {
  b->at = at_end ? s->last - b->bytes : s->first;
  around(s, b, 0);
  int given = b->kind == INPUT || b->kind == BOTH;
  for (uint64_t i = 0; i < b->bytes; i++) b->at[i] = given ? b->data[i] : 0xff;
}

// Executes the calls at `p` with all buffers at the end (or beginning) of their slots; returns what follows them.
static const uint64_t *execute(const uint64_t *p, const slot *slots, buffer *buffers, uint64_t count, int at_end) {
  for (uint64_t i = 0; i < count; i++) place(&slots[i], &buffers[i], at_end);
  for (uint64_t calls = *p++; calls; calls--) {
    uint64_t kernel = *p++, arguments = *p++, values[MAX_ARGUMENTS];
    if (arguments > MAX_ARGUMENTS) sys_exit(6);
    for (uint64_t i = 0; i < arguments; i++, p += 2) values[i] = p[0] ? (uint64_t)buffers[p[1]].at : p[1];
    es_test_call(kernel, values);
  }
  uint64_t status = 0;
  for (uint64_t i = 0; i < count && !status; i++) {
    if (buffers[i].kind == INPUT && differ(buffers[i].at, buffers[i].data, buffers[i].bytes)) status = INPUT_CHANGED + i;
    else if (around(&slots[i], &buffers[i], 1)) status = WRITTEN_OUTSIDE + i;
  }
  write_all((const uint8_t *)&status, 8);
  for (uint64_t i = 0; i < count; i++)
    if (buffers[i].kind == OUTPUT || buffers[i].kind == BOTH) {
      static const uint8_t padding[8];
      write_all(buffers[i].at, buffers[i].bytes);
      write_all(padding, -buffers[i].bytes & 7);
    }
  return p;
}

int es_main(int argc, const char *const *argv) {
  if (argc == 3 && es_same(argv[1], "--has")) return !es_cpu_has(argv[2]);
  int64_t fd = argc == 2 ? sys_openat(argv[1], O_RDONLY, 0) : -1;
  if (fd < 0) return 2;
  int64_t file = sys_mmap((uint64_t)sys_file_bytes(fd), PROT_READ, MAP_PRIVATE, fd);
  if (file < 0 && file > -4096) return 2;
  const uint64_t *p = (const uint64_t *)file;
  static slot slots[MAX_BUFFERS];
  static buffer buffers[MAX_BUFFERS];
  uint64_t slot_count = *p++;
  if (slot_count > MAX_BUFFERS) return 6;
  for (uint64_t i = 0; i < slot_count; i++) slots[i] = new_slot(*p++);
  for (uint64_t runs = *p++; runs; runs--) {
    uint64_t count = *p++;
    for (uint64_t i = 0; i < count; i++) {
      buffers[i].bytes = *p++, buffers[i].kind = *p++, buffers[i].data = (const uint8_t *)p;
      if (buffers[i].kind == INPUT || buffers[i].kind == BOTH) p += (buffers[i].bytes + 7) / 8;
    }
    const uint64_t *calls = p;
    execute(calls, slots, buffers, count, 1);
    p = execute(calls, slots, buffers, count, 0);
  }
  return 0;
}
