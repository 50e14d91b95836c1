/*
 * wrap.h: memory of the host's that arrays show
 *
 * An array of the host's own memory has a store entry whose value says where
 * that is (tm__wrapped), and in which process: no other can see it. The value
 * ends the wrap when it goes, with the last count on the entry, and so tells
 * the host once that nobody uses the memory any more.
 */
#ifndef TM_STORE_WRAP_H
#define TM_STORE_WRAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

typedef struct tm__wrap {
  const tm__mem *mem;
  int64_t process; /* whose memory it is */
  void *data;
  tm_release_fn release; /* may be NULL */
  void *user;
} tm__wrap;

/* The value of the entry. */
typedef struct tm__wrapped {
  int64_t process;
  void *data;
  uint64_t size; /* bytes at data */
} tm__wrapped;

/* The process that we are. */
int64_t tm__wrap_process(void);

/* NULL when there is no memory. */
tm__wrap *tm__wrap_new(const tm__mem *mem, void *data, tm_release_fn release,
                       void *user);

/* Tells the host, when this is its process, and frees the wrap. NULL is
   fine. */
void tm__wrap_end(tm__wrap *w);

#endif
