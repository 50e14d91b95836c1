/*
 * store.h: the global store: key -> versioned object, counted
 *
 * A store is a table of entries in the arena. An entry has a key that is
 * never used again, a kind, a count of the handles on it, and a value: bytes
 * in the arena with a version. A key is 64 bits: a serial number above the
 * index of its slot, so that a key of a removed entry is recognised.
 *
 * Handles: whoever keeps a key (a Lua handle, a message in flight, an
 * instance with stored attributes) holds one count. The entry goes, and its
 * value with it, when the last is given back, or when it is removed.
 *
 * Reading: tm__store_pin answers the bytes of the current version and keeps
 * them alive until tm__store_unpin, also when the entry is updated or
 * removed meanwhile.
 */
#ifndef TM_STORE_STORE_H
#define TM_STORE_STORE_H

#include "store/ledger.h"
#include "store/wrap.h"

typedef struct tm__store tm__store;
typedef uint64_t tm__key; /* 0 is no key */

enum tm__store_kind {
  TM__OBJECT = 1,  /* a Lua object of glob_store, encoded */
  TM__COUNTER = 2, /* a tm__counter */
  TM__TASK = 3,    /* a declared task's code, encoded */
  TM__BUFFER = 4   /* the memory of an array */
};

/* Bytes of one version of one entry, aligned to 64. Valid until unpinned.
   Those of a TM__COUNTER or TM__BUFFER are there to be written to: cast the
   const away. */
typedef struct tm__pin {
  const unsigned char *bytes;
  size_t len;
  uint64_t version; /* 1 for the first; grows with each update */
  void *value;      /* for unpin */
} tm__pin;

int tm__store_new(tm__store **out, const tm__mem *mem, tm__arena *arena,
                  tm_error *e);
/* Removes every entry; no pin may be left. Of a store that is attached, or in
   a child, only what this process has for itself goes. NULL is fine. */
void tm__store_free(tm__store *s);

/* Makes an entry with one handle, the caller's; copies len bytes, or makes
   as many zeros when bytes is NULL. `owner` is the uid of the state that
   places it. TM_ENOMEM when the arena is full. */
int tm__store_add(tm__store *s, int kind, uint64_t owner, const void *bytes,
                  size_t len, tm__key *out, tm_error *e);

/* Puts a new version in an entry's place. TM_ENOKEY when it was removed. */
int tm__store_update(tm__store *s, tm__key key, const void *bytes, size_t len,
                     tm_error *e);

/* What a value is made of: bytes as above, and the keys that are named in
   them. One count on each key, the caller's, is the value's once the call
   has succeeded, and is given back when the value goes. An entry that counts
   itself, alone or in a ring, stays until it is removed. */
typedef struct tm__content {
  const void *bytes;
  size_t len;
  const tm__key *keys;
  size_t nkeys;
  tm__wrap *wrap; /* ends with the value, once the call has succeeded */
} tm__content;

/* As tm__store_add and tm__store_update. */
int tm__store_put(tm__store *s, int kind, uint64_t owner, const tm__content *c,
                  tm__key *out, tm_error *e);
int tm__store_replace(tm__store *s, tm__key key, const tm__content *c,
                      tm_error *e);

/* TM_ENOKEY when the entry is gone. */
int tm__store_pin(tm__store *s, tm__key key, tm__pin *out, tm_error *e);
void tm__store_unpin(tm__store *s, tm__pin *pin);

/* The current version, 0 when the entry is gone. Cheap: three loads. */
uint64_t tm__store_version(tm__store *s, tm__key key);

/* The kind, 0 when the entry is gone; the uid of the state that placed it.
   */
int tm__store_kind_of(tm__store *s, tm__key key);
uint64_t tm__store_owner(tm__store *s, tm__key key);

/* One handle more; false when the entry is gone. */
bool tm__store_retain(tm__store *s, tm__key key);

/* One handle less; the last one removes the entry. A gone key is fine. */
void tm__store_release(tm__store *s, tm__key key);

/* Removes the entry whatever its count; later handles find it gone. */
void tm__store_remove(tm__store *s, tm__key key);

/* Live entries. */
size_t tm__store_count(tm__store *s);

/* ---- worker processes ----
 *
 * A worker process has a ledger (ledger.h) in which all that is above keeps
 * what the process holds: its handles, its pins. The main process has none.
 * A fork goes like this:
 *
 *   parent   tm__ledger_new; tm__ledger_inherit_key for every handle, and
 *            tm__ledger_inherit_pin for every pin, of what the child will
 *            have and give back itself; fork
 *   child    tm__arena_child, tm__store_child
 *   parent   once the child is gone: tm__arena_settle, tm__store_settle; when
 *            the fork failed, the latter alone
 *
 * A process that was started on its own attaches arena and store (of which it
 * was told the root) and calls tm__store_child with the ledger that the parent
 * made for it.
 *
 * Counts that go from one process to another are in no ledger on the way.
 */

/* Opens the store whose root is at that offset of the arena. */
int tm__store_attach(tm__store **out, const tm__mem *mem, tm__arena *arena,
                     uint64_t root, tm_error *e);
uint64_t tm__store_root(const tm__store *s);

/* In the worker process, before anything else is done with the store. */
void tm__store_child(tm__store *s, tm__ledger *l);

/* In the parent, before the process runs: one handle, one pin more, which are
   the child's. TM_ENOKEY when the entry is gone (the child may release the
   key all the same); TM_ENOMEM. */
int tm__ledger_inherit_key(tm__store *s, tm__ledger *l, tm__key key);
int tm__ledger_inherit_pin(tm__store *s, tm__ledger *l, const tm__pin *p);

/* In the parent, when the process is gone: gives back all that is in its
   ledger, and the ledger. NULL is fine. */
void tm__store_settle(tm__store *s, tm__ledger *l);

/* One count on each key is no longer this process's, but of what it is about
   to show to others. If it dies in between, they leak. */
void tm__store_pass(tm__store *s, const tm__key *keys, size_t n);

/* The other way: one passed count on each key is this process's from now on,
   as if it had taken them. */
void tm__store_adopt(tm__store *s, const tm__key *keys, size_t n);

/* Gives back a count that was passed. */
void tm__store_release_passed(tm__store *s, tm__key key);

#endif
