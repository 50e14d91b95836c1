#include "store/store.h"

#include <string.h>

#include "base/error.h"
#include "store/store_impl.h"

static int gone(tm_error *e, tm__key key) {
  return tm__fail(e, TM_ENOKEY, "key %llu was removed, or never was",
                  (unsigned long long)key);
}

/* Values */

static tm__value *value_at(tm__store *s, uint64_t word) {
  return tm__arena_at(s->arena, word >> TM__PIN_BITS << 6);
}

static uint64_t word_of(tm__store *s, const tm__value *v) {
  return tm__arena_offset(s->arena, v) >> 6 << TM__PIN_BITS;
}

/* Where a value of len bytes has its keys, from the value on. */
static size_t keys_at(size_t len) {
  return sizeof(tm__value) + (len + 7) / 8 * 8;
}

static tm__key *keys_of(tm__value *v) {
  return (tm__key *)(void *)((char *)v + keys_at((size_t)v->len));
}

static tm__value *make_value(tm__store *s, const tm__content *c, tm_error *e) {
  size_t size = c->nkeys * sizeof(tm__key);
  tm__value *v = NULL;
  if (c->len < SIZE_MAX / 2) {
    size += keys_at(c->len);
    v = tm__arena_alloc(s->arena, size);
  }
  if (!v) {
    tm__fail(e, TM_ENOMEM, "the arena has no room for %zu bytes", c->len);
    return NULL;
  }
  atomic_init(&v->refs, TM__CURRENT);
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
static _Thread_local tm__value *dying;
static _Thread_local bool burying;

/* In another process than its own the address means nothing. The host's
   function may let go of other arrays, of other stores too: they are freed
   there and then. */
static void end_wrap(tm__value *v) {
  const tm__wrapped *w = (const void *)(v + 1);
  if (w->process != tm__wrap_process()) return;
  tm__value *rest = dying;
  dying = NULL;
  burying = false;
  tm__wrap_end((tm__wrap *)(uintptr_t)v->wrap);
  burying = true;
  dying = rest;
}

static void free_value(tm__store *s, tm__value *v) {
  v->slot = (uint64_t)(uintptr_t)dying;
  dying = v;
  if (burying) return;
  burying = true;
  while (dying) {
    v = dying;
    dying = (tm__value *)(uintptr_t)v->slot;
    for (uint64_t i = 0; i < v->nkeys; i++)
      tm__store_release_passed(s, keys_of(v)[i]);
    if (v->wrap) end_wrap(v);
    tm__arena_release(s->arena, v);
  }
  burying = false;
}

/* Ends the time of the value in a word that was in a slot. */
static void retire(tm__store *s, uint64_t word) {
  tm__value *v = value_at(s, word);
  int64_t change = (int64_t)(word & TM__PIN_MASK) - TM__CURRENT;
  if (atomic_fetch_add(&v->refs, change) + change == 0) free_value(s, v);
}

/* The current value with one more pin on it; NULL when there is none (or 16
   million readers have it now). */
static tm__value *pin(tm__store *s, tm__slot *e) {
  uint64_t word = atomic_load(&e->value);
  do {
    if (!word || (word & TM__PIN_MASK) == TM__PIN_MASK) return NULL;
  } while (!atomic_compare_exchange_weak(&e->value, &word, word + 1));
  return value_at(s, word);
}

/* Whether in the slot or here: only the sum counts. */
void tm__value_repin(tm__value *v) { atomic_fetch_add(&v->refs, 1); }

/* A pinned value is not freed, so that its offset in the slot is it. */
void tm__value_unpin(tm__store *s, tm__value *v) {
  tm__slot *e = tm__arena_at(s->arena, v->slot);
  uint64_t word = atomic_load(&e->value);
  while (value_at(s, word) == v && word & TM__PIN_MASK)
    if (atomic_compare_exchange_weak(&e->value, &word, word - 1)) return;
  if (atomic_fetch_sub(&v->refs, 1) == 1) free_value(s, v);
}

/* Puts fresh in the place of v, which the caller has pinned; false when v is
   no longer the current one. */
static bool replace(tm__store *s, tm__slot *e, tm__value *v, tm__value *fresh) {
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
static void raise_version(tm__slot *e, uint64_t version) {
  uint64_t now = atomic_load(&e->version);
  while (now < version &&
         !atomic_compare_exchange_weak(&e->version, &now, version))
    continue;
}

/* Entries */

/* Removes the entry that the caller has entered, once. */
static void remove_entry(tm__store *s, tm__slot *e, tm__key key) {
  if (!atomic_compare_exchange_strong(&e->key, &key, 0)) return;
  uint64_t word = atomic_exchange(&e->value, 0);
  if (word) retire(s, word);
  atomic_fetch_sub(&s->root->live, 1);
  tm__slot_leave(s, e);
}

int tm__store_add(tm__store *s, int kind, uint64_t owner, const void *bytes,
                  size_t len, tm__key *out, tm_error *err) {
  const tm__content c = {.bytes = bytes, .len = len};
  return tm__store_put(s, kind, owner, &c, out, err);
}

int tm__store_put(tm__store *s, int kind, uint64_t owner, const tm__content *c,
                  tm__key *out, tm_error *err) {
  *out = 0;
  tm__value *v = make_value(s, c, err);
  if (!v) return TM_ENOMEM;
  uint32_t index;
  tm__slot *e = tm__slot_take(s, &index);
  if (!e) {
    tm__arena_release(s->arena, v);
    return tm__fail(err, TM_ENOMEM, "the arena has no room for one more key");
  }
  v->slot = tm__arena_offset(s->arena, e);
  e->last_key = (e->last_key ? e->last_key : index) + TM__SERIAL_STEP;
  atomic_store(&e->kind, (uint32_t)kind);
  atomic_store(&e->owner, owner);
  atomic_store(&e->version, 1);
  atomic_store(&e->handles, 1);
  atomic_store(&e->value, word_of(s, v));
  tm__store_pass(s, c->keys, c->nkeys);
  *out = e->last_key;
  atomic_store(&e->key, *out);
  atomic_store(&e->users, 1);
  atomic_fetch_add(&s->root->live, 1);
  tm__note_taken(s, *out);
  return TM_OK;
}

/* Makes fresh the current value; false when the entry was removed. Once it is
   the current one, others may replace and free it. */
static bool publish(tm__store *s, tm__slot *e, tm__value *fresh) {
  uint64_t version = 0;
  for (bool done = false; !done;) {
    tm__value *v = pin(s, e);
    if (!v) return false;
    fresh->version = version = v->version + 1;
    done = replace(s, e, v, fresh);
    tm__value_unpin(s, v);
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
  tm__slot *e = tm__slot_enter(s, key);
  if (!e) return gone(err, key);
  int status = TM_ENOMEM;
  tm__value *fresh = make_value(s, c, err);
  if (!fresh) goto out;
  fresh->slot = tm__arena_offset(s->arena, e);
  status = TM_OK;
  tm__store_pass(s, c->keys, c->nkeys);
  if (!publish(s, e, fresh)) {
    tm__store_adopt(s, c->keys, c->nkeys);
    tm__arena_release(s->arena, fresh);
    status = gone(err, key);
  }
out:
  tm__slot_leave(s, e);
  return status;
}

int tm__store_pin(tm__store *s, tm__key key, tm__pin *out, tm_error *err) {
  *out = (tm__pin){0};
  tm__slot *e = tm__slot_enter(s, key);
  if (!e) return gone(err, key);
  tm__value *v = pin(s, e);
  tm__slot_leave(s, e);
  if (!v) return gone(err, key);
  tm__note_taken(s, tm__pin_id(s, v));
  *out = (tm__pin){.bytes = (const unsigned char *)(v + 1),
                   .len = (size_t)v->len,
                   .version = v->version,
                   .value = v};
  return TM_OK;
}

void tm__store_unpin(tm__store *s, tm__pin *p) {
  if (p->value) {
    tm__note_given(s, tm__pin_id(s, p->value));
    tm__value_unpin(s, p->value);
  }
  *p = (tm__pin){0};
}

uint64_t tm__store_version(tm__store *s, tm__key key) {
  tm__slot *e = key ? tm__slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint64_t version = atomic_load(&e->version);
  /* Still ours: so the version was, too. */
  return atomic_load(&e->key) == key ? version : 0;
}

int tm__store_kind_of(tm__store *s, tm__key key) {
  tm__slot *e = key ? tm__slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint32_t kind = atomic_load(&e->kind);
  return atomic_load(&e->key) == key ? (int)kind : 0;
}

uint64_t tm__store_owner(tm__store *s, tm__key key) {
  tm__slot *e = key ? tm__slot_of(s, key) : NULL;
  if (!e || atomic_load(&e->key) != key) return 0;
  uint64_t owner = atomic_load(&e->owner);
  return atomic_load(&e->key) == key ? owner : 0;
}

bool tm__store_retain(tm__store *s, tm__key key) {
  tm__slot *e = tm__slot_enter(s, key);
  if (!e) return false;
  uint32_t n = atomic_load(&e->handles);
  while (n && !atomic_compare_exchange_weak(&e->handles, &n, n + 1)) continue;
  tm__slot_leave(s, e);
  if (n) tm__note_taken(s, key);
  return n > 0;
}

void tm__store_release_passed(tm__store *s, tm__key key) {
  tm__slot *e = tm__slot_enter(s, key);
  if (!e) return;
  if (atomic_fetch_sub(&e->handles, 1) == 1) remove_entry(s, e, key);
  tm__slot_leave(s, e);
}

void tm__store_release(tm__store *s, tm__key key) {
  tm__note_given(s, key);
  tm__store_release_passed(s, key);
}

void tm__store_remove(tm__store *s, tm__key key) {
  tm__slot *e = tm__slot_enter(s, key);
  if (!e) return;
  remove_entry(s, e, key);
  tm__slot_leave(s, e);
}

size_t tm__store_count(tm__store *s) { return atomic_load(&s->root->live); }
