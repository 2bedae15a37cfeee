// What goes on beside timed runs: clocks of cores, temperatures, current, and what the CPU counts. Read between runs,
// not within them. What a device does not tell is left out, with the reason.
#ifndef ES_OBSERVE_H
#define ES_OBSERVE_H
#include "format.h"
#include "sys.h"

enum { ES_ZONES = 128, ES_WATCHED = 256, ES_OBSERVATIONS = 8192, ES_COUNTERS = 3 };
static const uint64_t ES_OBSERVE_EVERY_NS = 100000000;  // reading some hundred files takes milliseconds

typedef struct {
  int64_t at_ns;  // since the first one
  uint64_t run;   // so many timed runs were done
  int64_t microamperes, microvolts;  // of the battery; -1: it does not say
} es_observation;

typedef struct {
  uint32_t cpus[ES_WATCHED], cpu_count, zone_count, count, missed;
  int32_t most_khz[ES_WATCHED];
  char zones[ES_ZONES][32], battery[24];
  es_observation all[ES_OBSERVATIONS];
  int32_t *values;  // of each: kHz of every watched core and its limit, then millidegrees of every zone; -1: unknown
  uint64_t first_ns, last_ns;
  int64_t counters[ES_COUNTERS], why;  // file descriptors, or negative errnos
} es_observer;

// Builds "/sys/.../cpu12/..." from pieces; NULL ends them.
ES_SMALL void es_path(char *path, uint32_t room, const char *head, uint32_t number, const char *rest) {
  uint32_t at = 0, n = 0;
  char digits[12];
  while (*head && at + 1 < room) path[at++] = *head++;
  do digits[n++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  while (n && at + 1 < room) path[at++] = digits[--n];
  while (*rest && at + 1 < room) path[at++] = *rest++;
  path[at] = 0;
}

// The first line of a file, without its end. Returns its length, -1 where it cannot be read.
ES_SMALL int64_t es_read_line(const char *path, char *line, uint32_t room) {
  const int64_t fd = sys_openat(path, O_RDONLY, 0);
  line[0] = 0;
  if (fd < 0) return -1;
  int64_t bytes = sys_read(fd, line, room - 1);
  sys_close(fd);
  if (bytes < 0) return -1;
  for (int64_t i = 0; i < bytes; i++)
    if (line[i] == '\n') bytes = i;
  line[bytes] = 0;
  return bytes;
}

// A whole number in a file, at most 2e9 either way; -1 where there is none.
ES_SMALL int32_t es_read_number(const char *path) {
  char line[24];
  uint64_t value = 0;
  if (es_read_line(path, line, sizeof line) <= 0) return -1;
  const int negative = line[0] == '-';
  if (!es_parse_number(line + negative, 2000000000, &value)) return -1;
  return negative ? -(int32_t)value : (int32_t)value;
}

ES_SMALL int32_t es_cpu_khz(uint32_t cpu, const char *which) {
  char path[96];
  es_path(path, sizeof path, "/sys/devices/system/cpu/cpu", cpu, which);
  return es_read_number(path);
}

// One thing to count in user mode, of the calling thread and with `all` of those that it starts from now on.
ES_SMALL int64_t es_count(uint64_t config, int all) {
  // struct perf_event_attr: type hardware, size of its first version, config; inherit, exclude_kernel and exclude_hv
  uint64_t attributes[8] = {(uint64_t)64 << 32, config, 0, 0, 0, (all ? 1u << 1 : 0) | 1u << 5 | 1u << 6, 0, 0};
  return sys_call(SYS_perf_event_open, (int64_t)attributes, 0, -1, -1, 0, 0);
}

// Before there are threads, which are counted only when they are started later.
ES_SMALL void es_count_begin(es_observer *o, int threads) {
  static const uint64_t hardware[ES_COUNTERS] = {0, 1, 3};  // cycles, instructions, cache misses
  for (int i = 0; i < ES_COUNTERS; i++) {
    o->counters[i] = es_count(hardware[i], threads);
    if (o->counters[i] < 0) o->why = o->counters[i];
  }
}

// Watches the cores `cpus`, or where there are none all that the process may use.
ES_SMALL void es_observe_begin(es_observer *o, const uint32_t *cpus, uint32_t count) {
  uint64_t mask[16] = {0};
  for (uint32_t i = 0; i < count; i++) o->cpus[o->cpu_count++] = cpus[i];
  if (!count && sys_call(SYS_sched_getaffinity, 0, sizeof mask, (int64_t)mask, 0, 0, 0) > 0)
    for (uint32_t cpu = 0; cpu < 1024 && o->cpu_count < ES_WATCHED; cpu++)
      if (mask[cpu / 64] >> cpu % 64 & 1) o->cpus[o->cpu_count++] = cpu;
  for (uint32_t i = 0; i < o->cpu_count; i++) o->most_khz[i] = es_cpu_khz(o->cpus[i], "/cpufreq/cpuinfo_max_freq");
  for (; o->zone_count < ES_ZONES; o->zone_count++) {
    char path[96];
    es_path(path, sizeof path, "/sys/class/thermal/thermal_zone", o->zone_count, "/type");
    if (es_read_line(path, o->zones[o->zone_count], sizeof o->zones[0]) < 0) break;
  }
  const uint64_t bytes = ES_OBSERVATIONS * (2 * (uint64_t)o->cpu_count + o->zone_count + 1) * sizeof(int32_t);
  const int64_t room = sys_mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  o->values = room < 0 && room > -4096 ? NULL : (int32_t *)room;  // pages that are not used take no memory
  es_read_line("/sys/class/power_supply/battery/status", o->battery, sizeof o->battery);
}

ES_SMALL int32_t *es_observed(const es_observer *o, uint32_t i) {
  return o->values + i * (2 * (uint64_t)o->cpu_count + o->zone_count);
}

// Now, unless the last time was just before and not `anyway`.
ES_SMALL void es_observe(es_observer *o, uint64_t run, int anyway) {
  const uint64_t now = sys_clock_ns();
  if (!anyway && now - o->last_ns < ES_OBSERVE_EVERY_NS) return;
  if (o->count == ES_OBSERVATIONS || !o->values) {
    o->missed++;
    return;
  }
  if (!o->count) o->first_ns = now;
  int32_t *value = es_observed(o, o->count);
  es_observation *one = &o->all[o->count++];
  one->at_ns = (int64_t)(now - o->first_ns);
  one->run = run;
  for (uint32_t i = 0; i < o->cpu_count; i++) {
    *value++ = es_cpu_khz(o->cpus[i], "/cpufreq/scaling_cur_freq");
    *value++ = es_cpu_khz(o->cpus[i], "/cpufreq/scaling_max_freq");
  }
  for (uint32_t i = 0; i < o->zone_count; i++) {
    char path[96];
    es_path(path, sizeof path, "/sys/class/thermal/thermal_zone", i, "/temp");
    *value++ = es_read_number(path);
  }
  one->microamperes = es_read_number("/sys/class/power_supply/battery/current_now");
  one->microvolts = es_read_number("/sys/class/power_supply/battery/voltage_now");
  o->last_ns = sys_clock_ns();
}

// What counter i says; 0 where it does not count.
ES_SMALL uint64_t es_counted(const es_observer *o, int i) {
  uint64_t value = 0;
  if (o->counters[i] < 0 || sys_read(o->counters[i], &value, sizeof value) != sizeof value) return 0;
  return value;
}

ES_SMALL void es_put_signed(es_text *out, int64_t value) {
  if (value < 0) es_put_char(out, '-');
  es_put_number(out, (uint64_t)(value < 0 ? -value : value));
}

ES_SMALL void es_put_list(es_text *out, const int32_t *values, uint32_t count, uint32_t step) {
  es_put_char(out, '[');
  for (uint32_t i = 0; i < count; i++) {
    if (i) es_put(out, ", ");
    es_put_signed(out, values[i * step]);
  }
  es_put_char(out, ']');
}

// The members "watched_cpus" to "observations" of the program's JSON document.
ES_SMALL void es_put_observations(es_text *out, const es_observer *o) {
  es_put(out, ", \"watched_cpus\": [");
  for (uint32_t i = 0; i < o->cpu_count; i++) {
    if (i) es_put(out, ", ");
    es_put_number(out, o->cpus[i]);
  }
  es_put(out, "], \"most_khz\": ");
  es_put_list(out, o->most_khz, o->cpu_count, 1);
  es_put(out, ", \"zones\": [");
  for (uint32_t i = 0; i < o->zone_count; i++) {
    if (i) es_put(out, ", ");
    es_put_json(out, o->zones[i]);
  }
  es_put(out, "], \"battery\": ");
  es_put_json(out, o->battery);
  es_put(out, ", \"missed_observations\": ");
  es_put_number(out, o->missed);
  es_put(out, ", \"observations\": [");
  for (uint32_t i = 0; i < o->count; i++) {
    const es_observation *one = &o->all[i];
    const int32_t *values = es_observed(o, i);
    es_put(out, i ? ", {\"at_ns\": " : "{\"at_ns\": ");
    es_put_signed(out, one->at_ns);
    es_put(out, ", \"run\": ");
    es_put_number(out, one->run);
    es_put(out, ", \"khz\": ");
    es_put_list(out, values, o->cpu_count, 2);
    es_put(out, ", \"limit_khz\": ");
    es_put_list(out, values + 1, o->cpu_count, 2);
    es_put(out, ", \"millidegrees\": ");
    es_put_list(out, values + 2 * o->cpu_count, o->zone_count, 1);
    es_put(out, ", \"microamperes\": ");
    es_put_signed(out, one->microamperes);
    es_put(out, ", \"microvolts\": ");
    es_put_signed(out, one->microvolts);
    es_put_char(out, '}');
  }
  es_put_char(out, ']');
}
#endif
