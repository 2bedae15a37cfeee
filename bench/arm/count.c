// A TCG plugin for qemu-aarch64: how often each translated block of guest code was executed.
//
//   qemu-aarch64 -plugin count.so,out=FILE[,layers=N,entry=ADDRESS,entry=ADDRESS,...] PROGRAM
//
// FILE gets a line "block ADDRESS INSTRUCTIONS EXECUTIONS" per block. With layers=N, the entries are those of the
// functions that compute a layer, which the program calls N times per inference, always in the same order: whatever
// is executed from one such call to the next is the layer's, "layer INDEX ADDRESS INSTRUCTIONS CALLS".
//
// Declares the part of QEMU's plugin interface that it uses, so that no header of QEMU is needed. These functions
// are the same in interface versions 1 (QEMU 4.2 to 8) and 2 and later (QEMU 9 and on refuses version 1).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef struct qemu_info_t qemu_info_t;
enum { CALLBACK_READS_NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

enum { MAX_LAYERS = 4096, MAX_ENTRIES = 1024 };

typedef struct block {
  struct block *next;
  uint64_t address, instructions, executions;
  int is_entry;
} block;

static block *blocks;
static uint64_t entries[MAX_ENTRIES], entry_count, layer_count, calls;
static struct {
  uint64_t address, instructions, calls;
} layers[MAX_LAYERS];
static const char *out_path;

// Layers are those of a program with one thread; the executions of blocks are exact for several, too.
static void executed(unsigned cpu, void *data) {
  (void)cpu;
  block *b = data;
  __atomic_fetch_add(&b->executions, 1, __ATOMIC_RELAXED);
  if (!layer_count) return;
  if (b->is_entry) {
    uint64_t layer = calls++ % layer_count;
    layers[layer].address = b->address;
    layers[layer].calls++;
  }
  if (calls) layers[(calls - 1) % layer_count].instructions += b->instructions;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  block *b = calloc(1, sizeof *b);
  if (!b) abort();
  b->address = qemu_plugin_tb_vaddr(tb);
  b->instructions = qemu_plugin_tb_n_insns(tb);
  for (uint64_t i = 0; i < entry_count; i++) b->is_entry |= b->address == entries[i];
  b->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&blocks, &b->next, b, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, CALLBACK_READS_NO_REGISTERS, b);
}

static void finished(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  FILE *file = fopen(out_path, "w");
  if (!file) {
    perror(out_path);
    return;
  }
  for (block *b = blocks; b; b = b->next)
    if (b->executions)
      fprintf(file, "block %llx %llu %llu\n", (unsigned long long)b->address, (unsigned long long)b->instructions,
              (unsigned long long)b->executions);
  for (uint64_t i = 0; i < layer_count; i++)
    fprintf(file, "layer %llu %llx %llu %llu\n", (unsigned long long)i, (unsigned long long)layers[i].address,
            (unsigned long long)layers[i].instructions, (unsigned long long)layers[i].calls);
  fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                                               char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "out=", 4) == 0) out_path = strdup(argv[i] + 4);
    if (strncmp(argv[i], "layers=", 7) == 0) layer_count = strtoull(argv[i] + 7, 0, 0);
    if (strncmp(argv[i], "entry=", 6) == 0 && entry_count < MAX_ENTRIES)
      entries[entry_count++] = strtoull(argv[i] + 6, 0, 0);
  }
  if (!out_path || layer_count > MAX_LAYERS) {
    fprintf(stderr, "count.so: no out=FILE, or more than %d layers\n", MAX_LAYERS);
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, 0);
  return 0;
}
