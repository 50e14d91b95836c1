/*
 * maps.h: files mapped for reading, once in each process
 *
 * An array that is mapped from a file has a store entry whose value says
 * which file (tm__mapped). Who opens it in a process gets the one mapping
 * there; it goes with the last who has it, and is made again when a message
 * that names the entry arrives after that.
 */
#ifndef TM_STORE_MAPS_H
#define TM_STORE_MAPS_H

#include <pthread.h>

#include "base/file.h"
#include "base/memory.h"

/* The value of a mapped array's entry; path is absolute and ends in '\0'. */
typedef struct tm__mapped {
  tm__file_id id;
  char path[];
} tm__mapped;

typedef struct tm__map {
  struct tm__map *next; /* this and refs under the lock */
  uint32_t refs;
  tm__file_id id;
  const unsigned char *base;
  size_t size;
} tm__map;

typedef struct tm__maps {
  const tm__mem *mem;
  pthread_mutex_t lock;
  tm__map *first;
} tm__maps;

void tm__maps_init(tm__maps *maps, const tm__mem *mem);

/* Every mapping must be closed. */
void tm__maps_term(tm__maps *maps);

/* The mapping of the file at path; with a reference, the caller's. When `id`
   is not NULL it must be that file, unchanged: TM_EINVAL. */
int tm__maps_open(tm__maps *maps, const char *path, const tm__file_id *id,
                  tm__map **out, tm_error *e);

/* Around a fork, so that no other thread is at work on the list; the second
   one in both processes. The child has its parent's mappings. */
void tm__maps_before_fork(tm__maps *maps);
void tm__maps_after_fork(tm__maps *maps);

/* One reference more, one less. NULL is fine. */
void tm__maps_ref(tm__maps *maps, tm__map *map);
void tm__maps_close(tm__maps *maps, tm__map *map);

#endif
