/*
 * buffer.h: bytes that grow
 *
 * A buffer owns data[0..len) and has room for cap. Appending never leaves
 * it broken: when memory is short it returns NULL (or false) and the bytes
 * that were there stay.
 */
#ifndef TM_BASE_BUFFER_H
#define TM_BASE_BUFFER_H

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

typedef struct tm__buf {
  const tm__mem *mem;
  unsigned char *data;
  size_t len, cap;
} tm__buf;

void tm__buf_init(tm__buf *b, const tm__mem *mem);
void tm__buf_term(tm__buf *b);

/* Makes room for n more bytes; false when there is no memory. */
bool tm__buf_grow(tm__buf *b, size_t n);

/* Room for n more bytes, counted as written; NULL when there is none. */
static inline unsigned char *tm__buf_take(tm__buf *b, size_t n) {
  if (b->cap - b->len < n && !tm__buf_grow(b, n)) return NULL;
  unsigned char *p = b->data + b->len;
  b->len += n;
  return p;
}

static inline bool tm__buf_put(tm__buf *b, const void *bytes, size_t n) {
  unsigned char *p = tm__buf_take(b, n);
  if (!p) return false;
  if (n) memcpy(p, bytes, n);
  return true;
}

#endif
