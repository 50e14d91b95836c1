#include "store/store.h"

#include <stdatomic.h>
#include <string.h>

#include "base/error.h"

/*
 * All that follows lives in the arena and has offsets for pointers, so that
 * every process may work on it; there are no locks, so that nobody waits for
 * the dead. What a process that is killed on the way leaves behind is a slot
 * or a value that is not used again.
 *
 * A key is the slot's serial number above its index. A slot whose serials are
 * used up is not used again.
 */
enum { INDEX_BITS = 24, PIN_BITS = 24, CHUNKS = 18, FIRST_CHUNK = 64 };

#define SERIAL_MAX (UINT64_MAX >> INDEX_BITS)
#define SERIAL_STEP ((uint64_t)1 << INDEX_BITS)
#define PIN_MASK (((uint64_t)1 << PIN_BITS) - 1)

/*
 * One version of an entry; its bytes follow, aligned to 64, and then the keys
 * of other entries that are named in them: one count on each is the value's.
 *
 * Pins are counted in two places, since a reader must find the value and
 * count itself in one step: in the low bits of slot.value while the value is
 * the current one, and here. An unpin goes to the slot while it can, else it
 * is subtracted here. When the value is replaced, the pins of the slot are
 * added here. So refs is 0 or less before that, and 0 again when the last
 * reader has gone after it.
 */
typedef struct value {
  _Alignas(64) _Atomic int64_t refs;
  uint64_t version;
  uint64_t len;
  uint64_t slot; /* offset of the slot */
  uint64_t nkeys;
  uint64_t wrap; /* address of a tm__wrap, in its own process; or 0 */
} value;

/*
 * A place for an entry. `users` keeps it from being used again: one for the
 * live entry and one for everybody who is at work on it; while it is 0 only
 * the free list, or who took the slot from there, may touch the rest.
 * `key` is set last and becomes 0 once, by who removes the entry.
 */
typedef struct slot {
  _Alignas(64) _Atomic uint64_t key;
  _Atomic uint64_t value; /* offset / 64 << PIN_BITS | pins; 0: none */
  _Atomic uint64_t version;
  _Atomic uint64_t owner;
  uint64_t last_key; /* the last that was given out for it; 0: none */
  _Atomic uint32_t users;
  _Atomic uint32_t handles;
  _Atomic uint32_t kind;
  _Atomic uint32_t next; /* index + 1 of the next free slot */
} slot;

/* Chunk k has FIRST_CHUNK << k slots and never moves. */
typedef struct root {
  _Atomic uint64_t free;  /* changes << 32 | index + 1 of a free slot, or 0 */
  _Atomic uint32_t slots; /* that were ever in use */
  _Atomic uint32_t live;
  _Atomic uint64_t chunks[CHUNKS]; /* offsets; 0: not made yet */
} root;

struct tm__store {
  const tm__mem *mem;
  tm__arena *arena;
  root *root;
};

static int gone(tm_error *e, tm__key key) {
  return tm__fail(e, TM_ENOKEY, "key %llu was removed, or never was",
                  (unsigned long long)key);
}

/* Slots */

static uint32_t index_of(tm__key key) {
  return (uint32_t)(key & (SERIAL_STEP - 1));
}

/* The chunk of a slot; *at becomes the slot's place in it. */
static int chunk_of(uint32_t index, uint32_t *at) {
  int k = 31 - __builtin_clz(index / FIRST_CHUNK + 1);
  *at = index - FIRST_CHUNK * ((1u << k) - 1);
  return k;
}

static slot *slot_at(tm__store *s, uint32_t index) {
  uint32_t at;
  int k = chunk_of(index, &at);
  if (k >= CHUNKS) return NULL;
  /* acquire: the chunk was zeroed before it was shown. */
  uint64_t offset =
      atomic_load_explicit(&s->root->chunks[k], memory_order_acquire);
  return offset ? (slot *)tm__arena_at(s->arena, offset) + at : NULL;
}

static slot *slot_of(tm__store *s, tm__key key) {
  return slot_at(s, index_of(key));
}

static bool make_chunk(tm__store *s, int k) {
  size_t size = sizeof(slot) * ((size_t)FIRST_CHUNK << k);
  void *chunk = tm__arena_alloc(s->arena, size);
  if (!chunk) return false;
  if (size < TM__ARENA_LARGE) memset(chunk, 0, size);
  uint64_t none = 0;
  if (!atomic_compare_exchange_strong(&s->root->chunks[k], &none,
                                      tm__arena_offset(s->arena, chunk)))
    tm__arena_release(s->arena, chunk);
  return true;
}

/* A slot from the free list. The count of changes in its head tells a list
   that changed and changed back. */
static slot *pop_free(tm__store *s, uint32_t *index) {
  uint64_t head = atomic_load(&s->root->free), to;
  slot *e;
  do {
    if (!(uint32_t)head) return NULL;
    *index = (uint32_t)head - 1;
    e = slot_at(s, *index);
    to = ((head >> 32) + 1) << 32 | atomic_load(&e->next);
  } while (!atomic_compare_exchange_weak(&s->root->free, &head, to));
  return e;
}

static void push_free(tm__store *s, slot *e, uint32_t index) {
  uint64_t head = atomic_load(&s->root->free), to;
  do {
    atomic_store(&e->next, (uint32_t)head);
    to = ((head >> 32) + 1) << 32 | (index + 1);
  } while (!atomic_compare_exchange_weak(&s->root->free, &head, to));
}

/* A slot that was never used. */
static slot *new_slot(tm__store *s, uint32_t *index) {
  uint32_t n = atomic_load(&s->root->slots);
  do {
    uint32_t at;
    int k = chunk_of(n, &at);
    if (k >= CHUNKS) return NULL;
    if (!slot_at(s, n) && !make_chunk(s, k)) return NULL;
  } while (!atomic_compare_exchange_weak(&s->root->slots, &n, n + 1));
  *index = n;
  return slot_at(s, n);
}

/* One user less; the last one of a removed entry gives the slot back. */
static void leave(tm__store *s, slot *e) {
  /* Read before: afterwards the slot may be another's. */
  tm__key last = e->last_key;
  if (atomic_fetch_sub(&e->users, 1) != 1) return;
  if (last >> INDEX_BITS < SERIAL_MAX) push_free(s, e, index_of(last));
}

/* The slot of a live entry, which stays this entry's until leave; NULL when
   the entry is gone. */
static slot *enter(tm__store *s, tm__key key) {
  slot *e = key ? slot_of(s, key) : NULL;
  if (!e) return NULL;
  uint32_t n = atomic_load(&e->users);
  do {
    if (n == 0) return NULL;
  } while (!atomic_compare_exchange_weak(&e->users, &n, n + 1));
  if (atomic_load(&e->key) == key) return e;
  leave(s, e);
  return NULL;
}

/* Values */

static value *value_at(tm__store *s, uint64_t word) {
  return tm__arena_at(s->arena, word >> PIN_BITS << 6);
}

static uint64_t word_of(tm__store *s, const value *v) {
  return tm__arena_offset(s->arena, v) >> 6 << PIN_BITS;
}

/* Where a value of len bytes has its keys, from the value on. */
static size_t keys_at(size_t len) { return sizeof(value) + (len + 7) / 8 * 8; }

static tm__key *keys_of(value *v) {
  return (tm__key *)(void *)((char *)v + keys_at((size_t)v->len));
}

static value *make_value(tm__store *s, const tm__content *c, tm_error *e) {
  size_t size = c->nkeys * sizeof(tm__key);
  value *v = NULL;
  if (c->len < SIZE_MAX / 2) {
    size += keys_at(c->len);
    v = tm__arena_alloc(s->arena, size);
  }
  if (!v) {
    tm__fail(e, TM_ENOMEM, "the arena has no room for %zu bytes", c->len);
    return NULL;
  }
  atomic_init(&v->refs, 0);
  v->version = 1;
  v->len = c->len;
  v->nkeys = c->nkeys;
  v->wrap = (uint64_t)(uintptr_t)c->wrap;
  if (c->bytes && c->len)
    memcpy(v + 1, c->bytes, c->len);
  else if (size < TM__ARENA_LARGE)
    memset(v + 1, 0, c->len);
  if (c->nkeys) memcpy(keys_of(v), c->keys, c->nkeys * sizeof(tm__key));
  return v;
}

/* Values that this thread has still to free: freeing one may end the entries
   that it names, and so on, along chains too long for a stack. They are
   linked by their slot. */
static _Thread_local value *dying;
static _Thread_local bool burying;

/* In another process than its own the address means nothing. The host's
   function may let go of other arrays, of other stores too: they are freed
   there and then. */
static void end_wrap(value *v) {
  const tm__wrapped *w = (const void *)(v + 1);
  if (w->process != tm__wrap_process()) return;
  value *rest = dying;
  dying = NULL;
  burying = false;
  tm__wrap_end((tm__wrap *)(uintptr_t)v->wrap);
  burying = true;
  dying = rest;
}

static void free_value(tm__store *s, value *v) {
  v->slot = (uint64_t)(uintptr_t)dying;
  dying = v;
  if (burying) return;
  burying = true;
  while (dying) {
    v = dying;
    dying = (value *)(uintptr_t)v->slot;
    for (uint64_t i = 0; i < v->nkeys; i++) tm__store_release(s, keys_of(v)[i]);
    if (v->wrap) end_wrap(v);
    tm__arena_release(s->arena, v);
  }
  burying = false;
}

/* Ends the time of the value in a word that was in a slot. */
static void retire(tm__store *s, uint64_t word) {
  value *v = value_at(s, word);
  int64_t pins = (int64_t)(word & PIN_MASK);
  if (atomic_fetch_add(&v->refs, pins) + pins == 0) free_value(s, v);
}

/* The current value with one more pin on it; NULL when there is none (or 16
   million readers have it now). */
static value *pin(tm__store *s, slot *e) {
  uint64_t word = atomic_load(&e->value);
  do {
    if (!word || (word & PIN_MASK) == PIN_MASK) return NULL;
  } while (!atomic_compare_exchange_weak(&e->value, &word, word + 1));
  return value_at(s, word);
}

/* A pinned value is not freed, so that its offset in the slot is it. */
static void unpin(tm__store *s, value *v) {
  slot *e = tm__arena_at(s->arena, v->slot);
  uint64_t word = atomic_load(&e->value);
  while (value_at(s, word) == v && word & PIN_MASK)
    if (atomic_compare_exchange_weak(&e->value, &word, word - 1)) return;
  if (atomic_fetch_sub(&v->refs, 1) == 1) free_value(s, v);
}

/* Puts fresh in the place of v, which the caller has pinned; false when v is
   no longer the current one. */
static bool replace(tm__store *s, slot *e, value *v, value *fresh) {
  uint64_t word = atomic_load(&e->value);
  while (value_at(s, word) == v) {
    if (!atomic_compare_exchange_weak(&e->value, &word, word_of(s, fresh)))
      continue;
    retire(s, word);
    return true;
  }
  return false;
}

/* Of two updates the later may be here first. */
static void raise_version(slot *e, uint64_t version) {
  uint64_t now = atomic_load(&e->version);
  while (now < version &&
         !atomic_compare_exchange_weak(&e->version, &now, version))
    continue;
}

/* Entries */

/* Removes the entry that the caller has entered, once. */
static void remove_entry(tm__store *s, slot *e, tm__key key) {
  if (!atomic_compare_exchange_strong(&e->key, &key, 0)) return;
  uint64_t word = atomic_exchange(&e->value, 0);
  if (word) retire(s, word);
  atomic_fetch_sub(&s->root->live, 1);
  leave(s, e);
}

int tm__store_add(tm__store *s, int kind, uint64_t owner, const void *bytes,
                  size_t len, tm__key *out, tm_error *err) {
  const tm__content c = {.bytes = bytes, .len = len};
  return tm__store_put(s, kind, owner, &c, out, err);
}

int tm__store_put(tm__store *s, int kind, uint64_t owner, const tm__content *c,
                  tm__key *out, tm_error *err) {
  *out = 0;
  value *v = make_value(s, c, err);
  if (!v) return TM_ENOMEM;
  uint32_t index;
  slot *e = pop_free(s, &index);
  if (!e) e = new_slot(s, &index);
  if (!e) {
    tm__arena_release(s->arena, v);
    return tm__fail(err, TM_ENOMEM, "the arena has no room for one more key");
  }
  v->slot = tm__arena_offset(s->arena, e);
  e->last_key = (e->last_key ? e->last_key : index) + SERIAL_STEP;
  atomic_store(&e->kind, (uint32_t)kind);
  atomic_store(&e->owner, owner);
  atomic_store(&e->version, 1);
  atomic_store(&e->handles, 1);
  atomic_store(&e->value, word_of(s, v));
  *out = e->last_key;
  atomic_store(&e->key, *out);
  atomic_store(&e->users, 1);
  atomic_fetch_add(&s->root->live, 1);
  return TM_OK;
}

/* Makes fresh the current value; false when the entry was removed. Once it is
   the current one, others may replace and free it. */
static bool publish(tm__store *s, slot *e, value *fresh) {
  uint64_t version = 0;
  for (bool done = false; !done;) {
    value *v = pin(s, e);
    if (!v) return false;
    fresh->version = version = v->version + 1;
    done = replace(s, e, v, fresh);
    unpin(s, v);
  }
  raise_version(e, version);
  return true;
}

int tm__store_update(tm__store *s, tm__key key, const void *bytes, size_t len,
                     tm_error *err) {
  const tm__content c = {.bytes = bytes, .len = len};
  return tm__store_replace(s, key, &c, err);
}

int tm__store_replace(tm__store *s, tm__key key, const tm__content *c,
                      tm_error *err) {
  slot *e = enter(s, key);
  if (!e) return gone(err, key);
  int status = TM_ENOMEM;
  value *fresh = make_value(s, c, err);
  if (!fresh) goto out;
  fresh->slot = tm__arena_offset(s->arena, e);
  status = TM_OK;
  if (!publish(s, e, fresh)) {
    tm__arena_release(s->arena, fresh);
    status = gone(err, key);
  }
out:
  leave(s, e);
  return status;
}

int tm__store_pin(tm__store *s, tm__key key, tm__pin *out, tm_error *err) {
  *out = (tm__pin){0};
  slot *e = enter(s, key);
  if (!e) return gone(err, key);
  value *v = pin(s, e);
  leave(s, e);
  if (!v) return gone(err, key);
  *out = (tm__pin){.bytes = (const unsigned char *)(v + 1),
                   .len = (size_t)v->len,
                   .version = v->version,
                   .value = v};
  return TM_OK;
}

void tm__store_unpin(tm__store *s, tm__pin *p) {
  if (p->value) unpin(s, p->value);
  *p = (tm__pin){0};
}

uint64_t tm__store_version(tm__store *s, tm__key key) {
  slot *e = key ? slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint64_t version = atomic_load(&e->version);
  /* Still ours: so the version was, too. */
  return atomic_load(&e->key) == key ? version : 0;
}

int tm__store_kind_of(tm__store *s, tm__key key) {
  slot *e = key ? slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint32_t kind = atomic_load(&e->kind);
  return atomic_load(&e->key) == key ? (int)kind : 0;
}

uint64_t tm__store_owner(tm__store *s, tm__key key) {
  slot *e = key ? slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint64_t owner = atomic_load(&e->owner);
  return atomic_load(&e->key) == key ? owner : 0;
}

bool tm__store_retain(tm__store *s, tm__key key) {
  slot *e = enter(s, key);
  if (!e) return false;
  uint32_t n = atomic_load(&e->handles);
  while (n && !atomic_compare_exchange_weak(&e->handles, &n, n + 1)) continue;
  leave(s, e);
  return n > 0;
}

void tm__store_release(tm__store *s, tm__key key) {
  slot *e = enter(s, key);
  if (!e) return;
  if (atomic_fetch_sub(&e->handles, 1) == 1) remove_entry(s, e, key);
  leave(s, e);
}

void tm__store_remove(tm__store *s, tm__key key) {
  slot *e = enter(s, key);
  if (!e) return;
  remove_entry(s, e, key);
  leave(s, e);
}

size_t tm__store_count(tm__store *s) { return atomic_load(&s->root->live); }

int tm__store_new(tm__store **out, const tm__mem *mem, tm__arena *arena,
                  tm_error *e) {
  *out = NULL;
  tm__store *s = tm__calloc(mem, 1, sizeof *s);
  if (!s) return tm__fail(e, TM_ENOMEM, "no memory for the store");
  s->mem = mem;
  s->arena = arena;
  s->root = tm__arena_alloc(arena, sizeof *s->root);
  if (!s->root) {
    tm__free(mem, s);
    return tm__fail(e, TM_ENOMEM, "the arena has no room for the store");
  }
  memset(s->root, 0, sizeof *s->root);
  *out = s;
  return TM_OK;
}

void tm__store_free(tm__store *s) {
  if (!s) return;
  uint32_t slots = atomic_load(&s->root->slots);
  for (uint32_t i = 0; i < slots; i++)
    tm__store_remove(s, atomic_load(&slot_at(s, i)->key));
  for (int k = 0; k < CHUNKS; k++) {
    uint64_t offset = atomic_load(&s->root->chunks[k]);
    if (offset) tm__arena_release(s->arena, tm__arena_at(s->arena, offset));
  }
  tm__arena_release(s->arena, s->root);
  tm__free(s->mem, s);
}
