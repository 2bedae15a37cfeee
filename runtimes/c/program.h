// What the programs in bundles have in common: options of threads and cores, files, memory, and the lines that they print
// when something is wrong.
#ifndef ES_PROGRAM_H
#define ES_PROGRAM_H
#include "cores.h"
#include "format.h"
#include "model_info.h"
#include "pool.h"

enum { MAX_PORTS = 64, MAX_PATH = 4096, MAX_CPU = 1023, MAX_THREADS = 256, MAX_PLACES = 4096 };
static const uint64_t MAX_SAMPLES = 1u << 30, MAX_RUNS = 10000000;

typedef struct {
  const char *weights, *cores, *zeros, *inputs[MAX_PORTS], *outputs[MAX_PORTS];
  uint32_t input_count, output_count;
  uint64_t samples, num_runs, warmup_runs, threads;
  uint64_t max_secs;
  uint32_t cpus[MAX_THREADS], cpu_count;
  int json, per_layer;
} options;

static const char *program = "model";
static es_text text;  // every line this program prints; zero-initialised, so that it takes no room in the file

// fail("cannot open ", path, why, errno) prints "model: cannot open PATHwhy: no such file".
__attribute__((noreturn)) static void fail(const char *what, const char *name, const char *more, int64_t error) {
  text.fd = 2;
  text.used = 0;
  es_put(&text, program);
  es_put(&text, ": ");
  es_put(&text, what);
  es_put(&text, name);
  es_put(&text, more);
  if (error < 0) {
    es_put(&text, ": ");
    switch (error) {
      case -ENOENT: es_put(&text, "no such file or folder"); break;
      case -EACCES: es_put(&text, "permission denied"); break;
      case -EISDIR: es_put(&text, "is a folder"); break;
      case -ENOSPC: es_put(&text, "no space left on the device"); break;
      case -EROFS: es_put(&text, "read-only file system"); break;
      case -ENOMEM: es_put(&text, "out of memory"); break;
      default:
        es_put(&text, "error ");
        es_put_number(&text, (uint64_t)-error);
    }
  }
  es_put(&text, "\n");
  es_flush(&text);
  sys_exit(2);
}

// "<what> <path> has A bytes, expected B<more>", exit code 2.
__attribute__((noreturn)) static void fail_size(const char *what, const char *path, uint64_t has, uint64_t expected,
                                                const char *more) {
  text.fd = 2;
  text.used = 0;
  const char *const words[] = {program, ": ", what, " ", path, " has "};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) es_put(&text, words[i]);
  es_put_number(&text, has);
  es_put(&text, " bytes, expected ");
  es_put_number(&text, expected);
  es_put(&text, more);
  es_put(&text, "\n");
  es_flush(&text);
  sys_exit(2);
}

static uint64_t number(const char *option, const char *word, uint64_t limit) {
  uint64_t value = 0;
  if (!es_parse_number(word, limit, &value)) fail("not a number in range: ", option, word[0] ? word : "(empty)", 0);
  return value;
}

// "2,3": the CPUs of a list.
static void parse_cpus(const char *list, options *o) {
  char word[8];
  uint32_t length = 0;
  o->cpu_count = 0;
  for (const char *p = list;; p++) {
    if (*p && *p != ',') {
      if (length + 1 == sizeof word) fail("not a number in range: ", "--cpu ", list, 0);
      word[length++] = *p;
      continue;
    }
    word[length] = 0;
    if (o->cpu_count == MAX_THREADS) fail("too many CPUs: ", "--cpu ", list, 0);
    const uint32_t cpu = (uint32_t)number("--cpu ", word, MAX_CPU);
    for (uint32_t i = 0; i < o->cpu_count; i++)
      if (o->cpus[i] == cpu) fail("a CPU is listed twice: ", "--cpu ", list, 0);
    o->cpus[o->cpu_count++] = cpu;
    length = 0;
    if (!*p) return;
  }
}

// --cores 0xf0: this thread, and those that it starts, may run on these CPUs only.
static void use_mask(const char *digits) {
  uint64_t mask[16] = {0};
  uint32_t count = 0;
  while (digits[count]) count++;
  if (count == 0 || count > 256) fail("--cores", " is big, little, all or a mask such as 0xf0", "", 0);
  for (uint32_t i = 0; i < count; i++) {
    const char c = digits[count - 1 - i];
    const int letter = (c | 32) >= 'a' && (c | 32) <= 'f';
    if (!letter && (c < '0' || c > '9')) fail("--cores", " is big, little, all or a mask such as 0xf0", "", 0);
    mask[i / 16] |= (uint64_t)(letter ? (c | 32) - 'a' + 10 : c - '0') << i % 16 * 4;
  }
  const int64_t error = sys_call(SYS_sched_setaffinity, 0, sizeof mask, (int64_t)mask, 0, 0, 0);
  if (error < 0) fail("this process may not run on the CPUs of ", "--cores 0x", digits, error);
}

// The threads that --threads asks for, on the CPUs of --cpu or --cores; timed runs are on the big ones, unless told
// otherwise.
static void start_threads(options *o) {
  const char *cores = o->cores;
  const int big = cores && es_same(cores, "big"), little = cores && es_same(cores, "little");
  const int all = cores && es_same(cores, "all"), mask = cores && !big && !little && !all;
  if (cores && o->cpu_count) fail("--cpu", " and --cores exclude each other", "", 0);
  if (mask) use_mask(cores[0] == '0' && (cores[1] | 32) == 'x' ? cores + 2 : cores);
  const int64_t allowed = sys_cpu_count();
  if (o->threads == 0) o->threads = o->cpu_count ? o->cpu_count : (uint64_t)(allowed > MAX_THREADS ? MAX_THREADS : allowed);
  if (o->cpu_count && o->cpu_count != o->threads) fail("--cpu", " needs one number for each of the ", "--threads", 0);
  switch (model_threads((int)o->threads)) {
    case 0: break;
    case ES_TOO_FEW_CPUS: {
      text.fd = 2;
      es_put(&text, program);
      es_put(&text, ": --threads ");
      es_put_number(&text, o->threads);
      es_put(&text, ": this process may use ");
      es_put_number(&text, (uint64_t)allowed);
      es_put(&text, allowed == 1 ? " CPU only\n" : " CPUs only\n");
      es_flush(&text);
      sys_exit(2);
    }
    default: fail("the system gives no ", "threads", "", 0);
  }
  if ((cores ? big || little : o->num_runs && !o->cpu_count) && es_sized_cpus(o->cpus, o->threads, little))
    o->cpu_count = (uint32_t)o->threads;
  for (uint32_t i = 0; i < o->cpu_count; i++) {
    const int64_t error = sys_pin_to_cpu(i ? model_thread_id((int)i) : 0, o->cpus[i]);
    if (error < 0) fail("this process may not run on the CPU number given with ", "--cpu", "", error);
  }
}

// The file as read-only memory at a page boundary; its size must be `bytes`.
static const void *map_file(const char *what, const char *path, uint64_t bytes, const char *more) {
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  if (fd < 0) fail("cannot open ", path, "", fd);
  const int64_t has = sys_file_bytes(fd);
  if (has < 0) fail("cannot read ", path, "", has);
  if ((uint64_t)has != bytes) fail_size(what, path, (uint64_t)has, bytes, more);
  if (bytes == 0) return "";
  const int64_t address = sys_mmap(bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd);
  if (address < 0 && address > -4096) fail("cannot map ", path, "", address);
  sys_close(fd);
  return (const void *)address;
}

// The content of a file in memory of its own, in large pages where the system gives them: weights of which all are read
// again and again. From the small pages of a file half as many bytes a second were read (x86-64, virtual machine).
__attribute__((unused)) static const void *read_file(const char *what, const char *path, uint64_t bytes, const char *more) {
  enum { MADV_HUGEPAGE = 14 };
  const uint64_t large = 1 << 21;
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  if (fd < 0) fail("cannot open ", path, "", fd);
  const int64_t has = sys_file_bytes(fd);
  if (has < 0) fail("cannot read ", path, "", has);
  if ((uint64_t)has != bytes) fail_size(what, path, (uint64_t)has, bytes, more);
  const int64_t room = sys_mmap(bytes + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (room < 0 && room > -4096) fail("cannot allocate the ", what, "", room);
  char *to = (char *)(((uint64_t)room + large - 1) / large * large);
  sys_call(SYS_madvise, (int64_t)to, (int64_t)bytes, MADV_HUGEPAGE, 0, 0, 0);  // a wish
  for (uint64_t done = 0; done < bytes;) {
    const int64_t count = sys_read(fd, to + done, bytes - done < 1u << 30 ? bytes - done : 1u << 30);
    if (count == -EINTR) continue;
    if (count <= 0) fail("cannot read ", path, "", count);
    done += (uint64_t)count;
  }
  sys_close(fd);
  return to;
}

// Zeroed memory at a page boundary, so that the alignment of 64 bytes holds for any page size.
static void *allocate(const char *what, uint64_t bytes) {
  const int64_t address = sys_mmap(bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (address < 0 && address > -4096) fail("cannot allocate the ", what, "", address);
  return (void *)address;
}

static const char *temporary_name(const char *path) {
  uint64_t length = 0;
  while (path[length]) length++;
  if (length + 5 > MAX_PATH) fail("the name of an output is too long: ", path, "", 0);
  char *name = allocate("name of an output", length + 5);
  for (uint64_t i = 0; i < length; i++) name[i] = path[i];
  for (int i = 0; i < 5; i++) name[length + (uint64_t)i] = ".tmp"[i];
  return name;
}
#endif
