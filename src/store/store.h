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

#include "store/arena.h"
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
/* Removes every entry; no pin may be left. NULL is fine. */
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

#endif
