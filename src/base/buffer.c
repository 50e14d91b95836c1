#include "base/buffer.h"

#include <stdint.h>

void tm__buf_init(tm__buf *b, const tm__mem *mem) {
  *b = (tm__buf){.mem = mem};
}

void tm__buf_term(tm__buf *b) {
  tm__free(b->mem, b->data);
  tm__buf_init(b, b->mem);
}

bool tm__buf_grow(tm__buf *b, size_t n) {
  if (n > SIZE_MAX / 4 - b->len) return false;
  size_t cap = b->cap + b->cap / 2 + 64;
  if (cap < b->len + n) cap = b->len + n;
  unsigned char *data = tm__realloc(b->mem, b->data, cap);
  if (!data) return false;
  b->data = data;
  b->cap = cap;
  return true;
}
