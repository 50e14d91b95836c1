#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void *tm__heap_alloc(void *user, void *ptr, size_t size) {
  (void)user;
  if (size == 0) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, size);
}

void *tm__alloc(const tm__mem *mem, size_t size) {
  return mem->fn(mem->user, NULL, size ? size : 1);
}

void *tm__calloc(const tm__mem *mem, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return NULL;
  void *p = tm__alloc(mem, total);
  if (p) memset(p, 0, total);
  return p;
}

void *tm__realloc(const tm__mem *mem, void *ptr, size_t size) {
  return mem->fn(mem->user, ptr, size);
}

void tm__free(const tm__mem *mem, void *ptr) {
  if (ptr) mem->fn(mem->user, ptr, 0);
}
