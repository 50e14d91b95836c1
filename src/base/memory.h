/*
 * memory.h: where memory comes from
 *
 * Every object of the core is given a tm__mem by its owner and keeps a
 * pointer to it. The heap (malloc, or the host's allocator) is one; the arena
 * is another, for what worker processes must see. An allocator may be
 * called from any thread.
 */
#ifndef TM_BASE_MEMORY_H
#define TM_BASE_MEMORY_H

#include "tidemill.h"

typedef struct tm__mem {
  tm_alloc_fn fn; /* size 0 frees */
  void *user;
} tm__mem;

/* The C library's realloc and free as a tm_alloc_fn; user is ignored. */
void *tm__heap_alloc(void *user, void *ptr, size_t size);

/* size bytes, uninitialised, aligned to 16; NULL when there are none. */
void *tm__alloc(const tm__mem *mem, size_t size);

/* count * size bytes, zeroed; NULL on overflow or when there are none. */
void *tm__calloc(const tm__mem *mem, size_t count, size_t size);

/* As realloc; on NULL, ptr is as it was. size is not 0. */
void *tm__realloc(const tm__mem *mem, void *ptr, size_t size);

/* Frees ptr, which may be NULL. */
void tm__free(const tm__mem *mem, void *ptr);

#endif
