/*
 * memo.h: which object was written where
 *
 * A map from addresses to offsets with open addressing. Emptying it is one
 * increment: entries of an earlier generation count as free.
 *
 * Objects that were made one after the other lie side by side in memory, and
 * are met in that order: so the addresses of a page go to neighbouring
 * entries, and pages anywhere.
 */
#ifndef TM_BIND_MEMO_H
#define TM_BIND_MEMO_H

#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>

/* A stamp is the generation above, and below TM__MEMO_BITS bits of offset:
   a TiB. */
typedef struct tm__memo_entry {
  uintptr_t key;
  uint64_t stamp;
} tm__memo_entry;

enum { TM__MEMO_BITS = 40 };

typedef struct tm__memo {
  const tm__mem *mem;
  tm__memo_entry *entries;
  size_t capacity; /* a power of two, or 0 */
  size_t used;     /* of this generation; at most half */
  uint64_t generation;
} tm__memo;

void tm__memo_init(tm__memo *m, const tm__mem *mem);
void tm__memo_term(tm__memo *m);
void tm__memo_clear(tm__memo *m);

/* False when the key is not known. */
bool tm__memo_get(const tm__memo *m, uintptr_t key, uint64_t *offset);

/* For a key that is looked up and then, most often, added: its entry, which
   stays so until another key is added. NULL: no memory. */
tm__memo_entry *tm__memo_seek(tm__memo *m, uintptr_t key);

/* Whether an entry found is known, and where. */
static inline bool tm__memo_known(const tm__memo *m, const tm__memo_entry *e,
                                  uint64_t *offset) {
  *offset = e->stamp & (((uint64_t)1 << TM__MEMO_BITS) - 1);
  return e->stamp >> TM__MEMO_BITS == m->generation;
}

/* Adds the key that an entry was sought for; false: too large. */
static inline bool tm__memo_fill(tm__memo *m, tm__memo_entry *e, uintptr_t key,
                                 uint64_t offset) {
  if (offset >> TM__MEMO_BITS) return false;
  e->key = key;
  e->stamp = m->generation << TM__MEMO_BITS | offset;
  m->used++;
  return true;
}

/* Adds a key that is not known; false when there is no memory, or the offset
   is too large. */
bool tm__memo_put(tm__memo *m, uintptr_t key, uint64_t offset);

#endif
