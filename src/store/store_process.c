/*
 * store_process.c: the store in worker processes
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "store/store_impl.h"

void tm__note_in_ledger(tm__store *s, uint64_t id, bool taken) {
  if (!id) return;
  /* A mutex call also keeps the compiler from moving these stores across the
     change of the real count, which is what a kill needs. */
  pthread_mutex_lock(&s->lock);
  if (taken)
    (void)tm__ledger_add(s->ledger, s->arena, id);
  else
    tm__ledger_sub(s->ledger, s->arena, id);
  pthread_mutex_unlock(&s->lock);
}

void tm__store_pass(tm__store *s, const tm__key *keys, size_t n) {
  for (size_t i = 0; s->ledger && i < n; i++) tm__note_given(s, keys[i]);
}

void tm__store_adopt(tm__store *s, const tm__key *keys, size_t n) {
  for (size_t i = 0; s->ledger && i < n; i++) tm__note_taken(s, keys[i]);
}

void tm__store_child(tm__store *s, tm__ledger *l) {
  /* A parent with a ledger may have held it, in another thread. */
  pthread_mutex_init(&s->lock, NULL);
  s->ledger = l;
  s->attached = true;
}

int tm__ledger_inherit_key(tm__store *s, tm__ledger *l, tm__key key) {
  if (!tm__store_retain(s, key)) return TM_ENOKEY;
  /* The count is the child's, not ours. */
  tm__store_pass(s, &key, 1);
  if (tm__ledger_add(l, s->arena, key)) return TM_OK;
  tm__store_release_passed(s, key);
  return TM_ENOMEM;
}

int tm__ledger_inherit_pin(tm__store *s, tm__ledger *l, const tm__pin *p) {
  if (!p->value) return TM_OK;
  if (!tm__ledger_add(l, s->arena, tm__pin_id(s, p->value))) return TM_ENOMEM;
  tm__value_repin(p->value);
  return TM_OK;
}

static void give_back(tm__store *s, uint64_t id) {
  if (id & TM__LEDGER_PIN)
    tm__value_unpin(s, tm__arena_at(s->arena, id & ~TM__LEDGER_PIN));
  else
    tm__store_release_passed(s, id);
}

void tm__store_settle(tm__store *s, tm__ledger *l) {
  uint64_t at = 0, id, count;
  if (!l) return;
  while (tm__ledger_next(l, s->arena, &at, &id, &count))
    while (count--) give_back(s, id);
  tm__ledger_free(l, s->arena);
}

static int make_local(tm__store **out, const tm__mem *mem, tm__arena *arena,
                      tm_error *e) {
  *out = NULL;
  tm__store *s = tm__calloc(mem, 1, sizeof *s);
  if (!s) return tm__fail(e, TM_ENOMEM, "no memory for the store");
  s->mem = mem;
  s->arena = arena;
  errno = pthread_mutex_init(&s->lock, NULL);
  if (errno) {
    tm__free(mem, s);
    return tm__fail_errno(e, "cannot make the store's lock");
  }
  *out = s;
  return TM_OK;
}

static void free_local(tm__store *s) {
  pthread_mutex_destroy(&s->lock);
  tm__free(s->mem, s);
}

int tm__store_new(tm__store **out, const tm__mem *mem, tm__arena *arena,
                  tm_error *e) {
  int status = make_local(out, mem, arena, e);
  if (status) return status;
  tm__root *root = tm__arena_alloc(arena, sizeof *root);
  if (!root) {
    free_local(*out);
    *out = NULL;
    return tm__fail(e, TM_ENOMEM, "the arena has no room for the store");
  }
  memset(root, 0, sizeof *root);
  (*out)->root = root;
  return TM_OK;
}

int tm__store_attach(tm__store **out, const tm__mem *mem, tm__arena *arena,
                     uint64_t root, tm_error *e) {
  int status = make_local(out, mem, arena, e);
  if (status) return status;
  (*out)->root = tm__arena_at(arena, root);
  (*out)->attached = true;
  return TM_OK;
}

uint64_t tm__store_root(const tm__store *s) {
  return tm__arena_offset(s->arena, s->root);
}

static void remove_all(tm__store *s) {
  uint32_t slots = atomic_load(&s->root->slots);
  for (uint32_t i = 0; i < slots; i++)
    tm__store_remove(s, atomic_load(&tm__slot_at(s, i)->key));
  tm__slot_free_all(s);
  tm__arena_release(s->arena, s->root);
}

void tm__store_free(tm__store *s) {
  if (!s) return;
  if (!s->attached) remove_all(s);
  free_local(s);
}
