#include "store/message.h"

void tm__keys_init(tm__keys *k, const tm__mem *mem) {
  *k = (tm__keys){.mem = mem};
}

void tm__keys_term(tm__keys *k, tm__store *store) {
  for (uint32_t i = 0; i < k->count; i++) tm__store_release(store, k->list[i]);
  tm__free(k->mem, k->list);
  tm__keys_init(k, k->mem);
}

int tm__keys_hold(tm__keys *k, tm__store *store, tm__key key) {
  if (k->count == k->cap) {
    uint32_t cap = k->cap * 2 + 4;
    tm__key *list = tm__realloc(k->mem, k->list, cap * sizeof *list);
    if (!list) return TM_ENOMEM;
    k->list = list;
    k->cap = cap;
  }
  if (!tm__store_retain(store, key)) return TM_ENOKEY;
  k->list[k->count++] = key;
  return TM_OK;
}

/* Room for a short record or two: most results of one item need no more. */
enum { FIRST_BYTES = sizeof(tm__msg) + 72 };

bool tm__msg_open(tm__buf *b) {
  if (b->cap < FIRST_BYTES && !tm__buf_grow(b, FIRST_BYTES)) return false;
  return tm__buf_take(b, sizeof(tm__msg));
}

tm__msg *tm__msg_seal(tm__buf *b, tm__keys *k) {
  tm__msg *m = (tm__msg *)(void *)b->data;
  *m = (tm__msg){.nkeys = k->count, .keys = k->list};
  atomic_init(&m->refs, 1);
  m->len = b->len - sizeof *m;
  tm__buf_init(b, b->mem);
  tm__keys_init(k, k->mem);
  return m;
}

tm__msg *tm__msg_ref(tm__msg *m) {
  /* relaxed: whoever gives us a reference has one, so it cannot end here */
  atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}

void tm__msg_pass(tm__msg *m, tm__store *store) {
  tm__store_pass(store, m->keys, m->nkeys);
  m->passed = true;
}

static void release_keys(const tm__msg *m, tm__store *store) {
  void (*give)(tm__store *, tm__key) =
      m->passed ? tm__store_release_passed : tm__store_release;
  for (uint32_t i = 0; i < m->nkeys; i++) give(store, m->keys[i]);
}

void tm__msg_unref(tm__msg *m, const tm__mem *mem, tm__store *store) {
  if (!m || atomic_fetch_sub(&m->refs, 1) != 1) return;
  release_keys(m, store);
  tm__free(mem, m->keys);
  tm__free(mem, m);
}
