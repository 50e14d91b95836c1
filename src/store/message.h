/*
 * message.h: encoded bytes on their way, and the handles that they hold
 *
 * A message is bytes that a guest wrote and a guest will read: a job's
 * code, its items, the results of some of them. It is counted, and while
 * it lives it holds one count on each key that is named in it, so that what it
 * mentions is still there when it is read.
 *
 * A message is composed in a tm__buf whose first bytes are the header, and
 * sealed without copying. It never moves, holds no pointer but `keys`, and
 * is freed with the allocator of its buffer.
 */
#ifndef TM_STORE_MESSAGE_H
#define TM_STORE_MESSAGE_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "store/store.h"

typedef struct tm__msg {
  _Atomic uint32_t refs;
  uint32_t nkeys;
  tm__key *keys;         /* one count each; NULL when nkeys is 0 */
  uint64_t first, count; /* of results: the items that these bytes answer */
  size_t len;
  bool passed; /* the counts on its keys are in no process's ledger */
} tm__msg;

/* Keys that a message under construction holds. */
typedef struct tm__keys {
  const tm__mem *mem;
  tm__key *list;
  uint32_t count, cap;
} tm__keys;

void tm__keys_init(tm__keys *k, const tm__mem *mem);

/* Gives every count back and frees the list. */
void tm__keys_term(tm__keys *k, tm__store *store);

/* Takes a count on key and remembers it. TM_ENOKEY, TM_ENOMEM. */
int tm__keys_hold(tm__keys *k, tm__store *store, tm__key key);

/* Begins a message in an empty buffer: room for the header. */
bool tm__msg_open(tm__buf *b);

/* Ends it: the buffer's bytes and the keys now belong to the message, which
   has one reference; both are left empty. The buffer was opened. */
tm__msg *tm__msg_seal(tm__buf *b, tm__keys *k);

static inline const unsigned char *tm__msg_bytes(const tm__msg *m) {
  return (const unsigned char *)(m + 1);
}

tm__msg *tm__msg_ref(tm__msg *m);

/* Before a message is shown to another process: the counts on its keys are
   now its own, to be given back by whoever has its last reference. Call it in
   the main process too; once. */
void tm__msg_pass(tm__msg *m, tm__store *store);

/* One reference less; the last gives back the keys and the memory. */
void tm__msg_unref(tm__msg *m, const tm__mem *mem, tm__store *store);

#endif
