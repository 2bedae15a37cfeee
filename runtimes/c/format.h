// Text without a libc: a buffer that is filled piece by piece and flushed to a file descriptor.
#ifndef ES_FORMAT_H
#define ES_FORMAT_H
#include "sys.h"

// Not inlined: this text is for people, and speed does not matter.
#define ES_SMALL __attribute__((noinline, unused)) static

typedef struct {
  int64_t fd;
  uint32_t used;
  int failed;  // a write did not succeed
  char text[4096];
} es_text;

// Writes all bytes to fd. Returns 0 or a negative errno.
ES_SMALL int64_t es_write_all(int64_t fd, const void *from, uint64_t bytes) {
  const char *p = from;
  while (bytes > 0) {
    const int64_t written = sys_write(fd, p, bytes);
    if (written == -EINTR) continue;
    if (written <= 0) return written < 0 ? written : -ENOSPC;
    p += written;
    bytes -= (uint64_t)written;
  }
  return 0;
}

ES_SMALL void es_flush(es_text *out) {
  if (es_write_all(out->fd, out->text, out->used) < 0) out->failed = 1;
  out->used = 0;
}

ES_SMALL void es_put_char(es_text *out, char c) {
  if (out->used == sizeof out->text) es_flush(out);
  out->text[out->used++] = c;
}

ES_SMALL void es_put(es_text *out, const char *text) {
  while (*text) es_put_char(out, *text++);
}

ES_SMALL void es_put_number(es_text *out, uint64_t value) {
  char digits[20];
  int count = 0;
  do digits[count++] = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  while (count > 0) es_put_char(out, digits[--count]);
}

// A JSON string, quotes included.
ES_SMALL void es_put_json(es_text *out, const char *text) {
  es_put_char(out, '"');
  for (; *text; text++) {
    const unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') es_put_char(out, '\\');
    if (c >= 0x20) {
      es_put_char(out, (char)c);
    } else {
      es_put(out, "\\u00");
      es_put_char(out, "0123456789abcdef"[c >> 4]);
      es_put_char(out, "0123456789abcdef"[c & 15]);
    }
  }
  es_put_char(out, '"');
}

ES_SMALL int es_same(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

// Decimal digits only, at most `limit`. Returns 1 and sets *value, or 0.
ES_SMALL int es_parse_number(const char *text, uint64_t limit, uint64_t *value) {
  uint64_t result = 0;
  if (!*text) return 0;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return 0;
    result = result * 10 + (uint64_t)(*text - '0');
    if (result > limit) return 0;
  }
  *value = result;
  return 1;
}
#endif
