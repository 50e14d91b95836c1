/*
 * store_impl.h: the inside of the store; only store*.c and its tests include it
 *
 * All but tm__store lives in the arena and has offsets for pointers, so that
 * every process may work on it; there are no locks, so that nobody waits for
 * the dead. What a process that is killed on the way leaves behind is a slot
 * or a value that is not used again, or a count that nobody gives back.
 *
 * A key is the slot's serial number above its index. A slot whose serials are
 * used up is not used again.
 */
#ifndef TM_STORE_STORE_IMPL_H
#define TM_STORE_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"

enum { TM__INDEX_BITS = 24, TM__PIN_BITS = 24, TM__SLOT_CHUNKS = 18 };

/* One bit less than there is room for: TM__LEDGER_PIN. */
#define TM__SERIAL_MAX (UINT64_MAX >> (TM__INDEX_BITS + 1))
#define TM__SERIAL_STEP ((uint64_t)1 << TM__INDEX_BITS)
#define TM__PIN_MASK (((uint64_t)1 << TM__PIN_BITS) - 1)

/*
 * One version of an entry; its bytes follow, aligned to 64, and then the keys
 * of other entries that are named in them: one count on each is the value's.
 *
 * Pins are counted in two places, since a reader must find the value and
 * count itself in one step: in the low bits of slot.value while the value is
 * the current one, and here. An unpin goes to the slot while it can, else it
 * is subtracted here. While the value is the current one TM__CURRENT is added
 * to refs, so that no count here ends it; when it is replaced, that goes and
 * the pins of the slot are added. From then on refs is the number of pins.
 */
typedef struct tm__value {
  _Alignas(64) _Atomic int64_t refs;
  uint64_t version;
  uint64_t len;
  uint64_t slot; /* offset of the slot */
  uint64_t nkeys;
  uint64_t wrap; /* address of a tm__wrap, in its own process; or 0 */
} tm__value;

#define TM__CURRENT ((int64_t)1 << 48)

/*
 * A place for an entry. `users` keeps it from being used again: one for the
 * live entry and one for everybody who is at work on it; while it is 0 only
 * the free list, or who took the slot from there, may touch the rest.
 * `key` is set last and becomes 0 once, by who removes the entry.
 */
typedef struct tm__slot {
  _Alignas(64) _Atomic uint64_t key;
  _Atomic uint64_t value; /* offset / 64 << TM__PIN_BITS | pins; 0: none */
  _Atomic uint64_t version;
  _Atomic uint64_t owner;
  uint64_t last_key; /* the last that was given out for it; 0: none */
  _Atomic uint32_t users;
  _Atomic uint32_t handles;
  _Atomic uint32_t kind;
  _Atomic uint32_t next; /* index + 1 of the next free slot */
} tm__slot;

/* Chunk k has twice as many slots as the one before it, and never moves. */
typedef struct tm__root {
  _Atomic uint64_t free;  /* changes << 32 | index + 1 of a free slot, or 0 */
  _Atomic uint32_t slots; /* that were ever in use */
  _Atomic uint32_t live;
  _Atomic uint64_t chunks[TM__SLOT_CHUNKS]; /* offsets; 0: not made yet */
} tm__root;

/* What each process has for itself. The ledger is written under the lock; in
   the main process there is none, and nobody takes the lock. */
struct tm__store {
  const tm__mem *mem;
  tm__arena *arena;
  tm__root *root;
  tm__ledger *ledger;
  pthread_mutex_t lock;
  bool attached; /* the entries are another process's to end */
};

/* store_slot.c: slots */

tm__slot *tm__slot_at(tm__store *s, uint32_t index);

/* A slot for a new entry; *index is where it is. NULL: no room. */
tm__slot *tm__slot_take(tm__store *s, uint32_t *index);

/* The slot of a live entry, which stays this entry's until tm__slot_leave;
   NULL when the entry is gone. */
tm__slot *tm__slot_enter(tm__store *s, tm__key key);
void tm__slot_leave(tm__store *s, tm__slot *e);

/* The slot of a key, which may be another entry's: compare the key before
   and after reading. NULL: none has that index. */
tm__slot *tm__slot_of(tm__store *s, tm__key key);

/* Takes all chunks back. */
void tm__slot_free_all(tm__store *s);

/* store.c: values. One pin more on a value that is pinned; one less. */
void tm__value_repin(tm__value *v);
void tm__value_unpin(tm__store *s, tm__value *v);

/* store_process.c: the ledger of this process, when it has one. In this
   order: the count is taken, tm__note_taken; tm__note_given, it is given. */
void tm__note_in_ledger(tm__store *s, uint64_t id, bool taken);

static inline void tm__note_taken(tm__store *s, uint64_t id) {
  if (s->ledger) tm__note_in_ledger(s, id, true);
}

static inline void tm__note_given(tm__store *s, uint64_t id) {
  if (s->ledger) tm__note_in_ledger(s, id, false);
}

static inline uint64_t tm__pin_id(tm__store *s, const tm__value *v) {
  return tm__ledger_pin(tm__arena_offset(s->arena, v));
}

#endif
