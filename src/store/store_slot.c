#include "store/store_impl.h"

#include <string.h>

enum { FIRST_CHUNK = 64 };

static uint32_t index_of(tm__key key) {
  return (uint32_t)(key & (TM__SERIAL_STEP - 1));
}

/* The chunk of a slot; *at becomes the slot's place in it. */
static int chunk_of(uint32_t index, uint32_t *at) {
  int k = 31 - __builtin_clz(index / FIRST_CHUNK + 1);
  *at = index - FIRST_CHUNK * ((1u << k) - 1);
  return k;
}

tm__slot *tm__slot_at(tm__store *s, uint32_t index) {
  uint32_t at;
  int k = chunk_of(index, &at);
  if (k >= TM__SLOT_CHUNKS) return NULL;
  /* acquire: the chunk was zeroed before it was shown. */
  uint64_t offset =
      atomic_load_explicit(&s->root->chunks[k], memory_order_acquire);
  return offset ? (tm__slot *)tm__arena_at(s->arena, offset) + at : NULL;
}

tm__slot *tm__slot_of(tm__store *s, tm__key key) {
  return tm__slot_at(s, index_of(key));
}

static bool make_chunk(tm__store *s, int k) {
  size_t size = sizeof(tm__slot) * ((size_t)FIRST_CHUNK << k);
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
static tm__slot *pop_free(tm__store *s, uint32_t *index) {
  uint64_t head = atomic_load(&s->root->free), to;
  tm__slot *e;
  do {
    if (!(uint32_t)head) return NULL;
    *index = (uint32_t)head - 1;
    e = tm__slot_at(s, *index);
    to = ((head >> 32) + 1) << 32 | atomic_load(&e->next);
  } while (!atomic_compare_exchange_weak(&s->root->free, &head, to));
  return e;
}

static void push_free(tm__store *s, tm__slot *e, uint32_t index) {
  uint64_t head = atomic_load(&s->root->free), to;
  do {
    atomic_store(&e->next, (uint32_t)head);
    to = ((head >> 32) + 1) << 32 | (index + 1);
  } while (!atomic_compare_exchange_weak(&s->root->free, &head, to));
}

/* A slot that was never used. */
static tm__slot *new_slot(tm__store *s, uint32_t *index) {
  uint32_t n = atomic_load(&s->root->slots);
  do {
    uint32_t at;
    int k = chunk_of(n, &at);
    if (k >= TM__SLOT_CHUNKS) return NULL;
    if (!tm__slot_at(s, n) && !make_chunk(s, k)) return NULL;
  } while (!atomic_compare_exchange_weak(&s->root->slots, &n, n + 1));
  *index = n;
  return tm__slot_at(s, n);
}

tm__slot *tm__slot_take(tm__store *s, uint32_t *index) {
  tm__slot *e = pop_free(s, index);
  return e ? e : new_slot(s, index);
}

/* One user less; the last one of a removed entry gives the slot back. */
void tm__slot_leave(tm__store *s, tm__slot *e) {
  /* Read before: afterwards the slot may be another's. */
  tm__key last = e->last_key;
  if (atomic_fetch_sub(&e->users, 1) != 1) return;
  if (last >> TM__INDEX_BITS < TM__SERIAL_MAX) push_free(s, e, index_of(last));
}

tm__slot *tm__slot_enter(tm__store *s, tm__key key) {
  tm__slot *e = key ? tm__slot_of(s, key) : NULL;
  if (!e) return NULL;
  uint32_t n = atomic_load(&e->users);
  do {
    if (n == 0) return NULL;
  } while (!atomic_compare_exchange_weak(&e->users, &n, n + 1));
  if (atomic_load(&e->key) == key) return e;
  tm__slot_leave(s, e);
  return NULL;
}

void tm__slot_free_all(tm__store *s) {
  for (int k = 0; k < TM__SLOT_CHUNKS; k++) {
    uint64_t offset = atomic_load(&s->root->chunks[k]);
    if (offset) tm__arena_release(s->arena, tm__arena_at(s->arena, offset));
  }
}
