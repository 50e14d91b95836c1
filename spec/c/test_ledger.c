/* Tests of store/ledger.h and of the store in worker processes; of the
   store's inside only to count what is held. */

#include "store/ledger.h"

#include <string.h>

#include "check.h"
#include "worker.h"

/* The table, beside a plain one. */
static void table(void) {
  enum { IDS = 3000 };
  static uint64_t model[IDS];
  open_store();
  size_t before = blocks();
  tm__ledger *l = tm__ledger_new(arena);
  uint32_t seed = 1;
  for (int i = 0; i < 30000; i++) {
    seed = seed * 1664525u + 1013904223u;
    uint64_t id = (seed >> 8) % IDS * (i < 20000) + 1;
    if (seed >> 30 || !model[id - 1]) {
      model[id - 1]++;
      CHECK(tm__ledger_add(l, arena, id));
    } else {
      model[id - 1]--;
      tm__ledger_sub(l, arena, id);
    }
  }
  uint64_t at = 0, id, count, total = 0;
  for (uint64_t i = 0; i < IDS; i++) {
    CHECK(tm__ledger_count(l, arena, i + 1) == model[i]);
    total += model[i];
  }
  while (tm__ledger_next(l, arena, &at, &id, &count)) total -= count;
  CHECK(total == 0);
  tm__ledger_free(l, arena);
  tm__ledger_free(NULL, arena);
  CHECK(blocks() == before);
  close_store(true);
}

/* Ids that come and go do not make it grow. */
static void passing_ids(void) {
  open_store();
  tm__ledger *l = tm__ledger_new(arena);
  tm__arena_stats before, after;
  tm__arena_stat(arena, &before);
  for (uint64_t id = 1; id < 10000; id++) {
    CHECK(tm__ledger_add(l, arena, id));
    tm__ledger_sub(l, arena, id);
    tm__ledger_sub(l, arena, id);
  }
  tm__arena_stat(arena, &after);
  CHECK(after.used == before.used && after.blocks == before.blocks);
  tm__ledger_free(l, arena);
  close_store(true);
}

/* What it has no room for it does not have, and says so. */
static void full_table(void) {
  CHECK(tm__arena_new(&arena, &heap, 2 * MIB, NULL) == TM_OK);
  tm__ledger *l = tm__ledger_new(arena);
  uint64_t n = 0;
  while (tm__ledger_add(l, arena, n + 1)) n++;
  CHECK(n > 1000 && tm__ledger_add(l, arena, 1));
  CHECK(tm__ledger_count(l, arena, 1) == 2);
  CHECK(tm__ledger_count(l, arena, n) == 1);
  CHECK(tm__ledger_count(l, arena, n + 1) == 0);
  tm__ledger_sub(l, arena, n + 1);
  tm__ledger_free(l, arena);
  CHECK(blocks() == 0);
  tm__arena_free(arena);
}

/* A worker's way to the store, in this process. */
static tm__store *worker_store(tm__ledger **l) {
  tm__store *w;
  *l = tm__ledger_new(arena);
  CHECK(tm__store_attach(&w, &heap, arena, tm__store_root(store), NULL) ==
        TM_OK);
  tm__store_child(w, *l);
  return w;
}

static uint64_t noted(tm__ledger *l, tm__key key) {
  return tm__ledger_count(l, arena, key);
}

static void what_it_keeps(void) {
  open_store();
  tm__ledger *l;
  tm__store *w = worker_store(&l);
  tm__key mine, key = add("parent's");
  tm__pin p, q;
  CHECK(tm__store_add(w, TM__OBJECT, 1, "x", 1, &mine, NULL) == TM_OK);
  CHECK(tm__store_retain(w, key) && tm__store_retain(w, key));
  CHECK(noted(l, mine) == 1 && noted(l, key) == 2);
  tm__store_release(w, key);
  CHECK(noted(l, key) == 1 && handles(key) == 2);
  CHECK(tm__store_pin(w, key, &p, NULL) == TM_OK);
  CHECK(tm__store_pin(w, key, &q, NULL) == TM_OK);
  uint64_t id = tm__pin_id(w, p.value);
  CHECK(noted(l, id) == 2 && pins(key) == 2);
  tm__store_unpin(w, &q);
  CHECK(noted(l, id) == 1 && pins(key) == 1);
  /* A key that was removed is struck out all the same. */
  tm__store_remove(w, mine);
  CHECK(noted(l, mine) == 1);
  tm__store_release(w, mine);
  CHECK(noted(l, mine) == 0 && !tm__store_retain(w, mine));
  CHECK(noted(l, mine) == 0);
  tm__store_free(w);
  tm__store_settle(store, l);
  CHECK(handles(key) == 1 && pins(key) == 0);
  tm__store_settle(store, NULL);
  close_store(true);
}

/* The counts of a value are its own, whoever makes and ends it. */
static void keys_in_values(void) {
  open_store();
  tm__ledger *l;
  tm__store *w = worker_store(&l);
  tm__key key = add("named"), outer;
  CHECK(tm__store_retain(w, key) && tm__store_retain(w, key));
  const tm__content c = {.bytes = "v", .len = 1, .keys = &key, .nkeys = 1};
  CHECK(tm__store_put(w, TM__OBJECT, 1, &c, &outer, NULL) == TM_OK);
  CHECK(noted(l, key) == 1 && handles(key) == 3);
  CHECK(tm__store_replace(w, outer, &c, NULL) == TM_OK);
  CHECK(noted(l, key) == 0 && handles(key) == 2);
  CHECK(tm__store_retain(w, key));
  tm__store_release(w, outer);
  CHECK(noted(l, key) == 1 && handles(key) == 2);
  CHECK(tm__store_replace(w, outer, &c, NULL) == TM_ENOKEY);
  CHECK(noted(l, key) == 1 && handles(key) == 2);
  tm__store_free(w);
  tm__store_settle(store, l);
  CHECK(handles(key) == 1);
  close_store(true);
}

static void messages(void) {
  open_store();
  tm__ledger *l;
  tm__store *w = worker_store(&l);
  tm__key key = add("named");
  tm__msg *m = message(w, key);
  CHECK(noted(l, key) == 1);
  tm__msg_unref(m, &heap, w);
  CHECK(noted(l, key) == 0 && handles(key) == 1);
  /* One for the parent. */
  m = message(w, key);
  tm__msg_pass(m, w);
  CHECK(noted(l, key) == 0 && handles(key) == 2);
  tm__msg_unref(m, &heap, store);
  CHECK(handles(key) == 1);
  /* One from the parent does not touch what the worker has itself. */
  m = message(store, key);
  tm__msg_pass(m, store);
  CHECK(tm__store_retain(w, key));
  tm__msg_unref(m, &heap, w);
  CHECK(noted(l, key) == 1 && handles(key) == 2);
  tm__store_pass(w, &key, 1);
  CHECK(noted(l, key) == 0);
  tm__store_adopt(w, &key, 1);
  CHECK(noted(l, key) == 1);
  tm__store_free(w);
  tm__store_settle(store, l);
  CHECK(handles(key) == 1);
  close_store(true);
}

/* What the script had at the fork: two handles, a pin. */
typedef struct estate {
  tm__key kept, collected, gone;
  tm__pin pin;
  bool collect;
} estate;

static void inherit(void *arg) {
  estate *x = arg;
  tm__store_release(store, x->gone);
  if (!x->collect) return;
  tm__store_release(store, x->collected);
  tm__store_unpin(store, &x->pin);
}

static void inheritance(void) {
  open_store();
  estate x = {.kept = add("kept"), .collected = add("collected")};
  x.gone = add("gone");
  tm__store_remove(store, x.gone);
  CHECK(tm__store_pin(store, x.kept, &x.pin, NULL) == TM_OK);
  for (int i = 0; i < 4; i++) {
    x.collect = i % 2;
    if (i > 1) tm__store_update(store, x.kept, "new", 3, NULL);
    tm__ledger *l = tm__ledger_new(arena);
    CHECK(tm__ledger_inherit_key(store, l, x.kept) == TM_OK);
    CHECK(tm__ledger_inherit_key(store, l, x.collected) == TM_OK);
    CHECK(tm__ledger_inherit_key(store, l, x.gone) == TM_ENOKEY);
    CHECK(tm__ledger_inherit_pin(store, l, &x.pin) == TM_OK);
    pid_t pid = fork_worker(l, inherit, &x);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(handles(x.kept) == 2 && handles(x.collected) == 2u - x.collect);
    settle(pid, l);
    CHECK(handles(x.kept) == 1 && handles(x.collected) == 1);
    CHECK(!memcmp(x.pin.bytes, "kept", 4));
    CHECK(pins(x.kept) == (i > 1 ? 0 : 1));
  }
  size_t before = blocks();
  tm__store_unpin(store, &x.pin);
  CHECK(blocks() == before - 1);
  close_store(true);
}

/* A process that has the descriptor alone, as after exec. */
typedef struct told {
  void *base;
  size_t size;
  int fd;
  uint64_t root, ledger;
  tm__key key;
} told;

static bool attach(void *arg) {
  told *t = arg;
  tm__arena *a = NULL;
  tm__store *s = NULL;
  tm_error e = {0};
  CHECK(tm__arena_attach(&a, &heap, t->fd, t->base, t->size, &e) == TM_ESYS);
  CHECK(a == NULL && strstr(e.text, "cannot map shared memory at 0x"));
  tm__arena_free(arena);
  CHECK(tm__arena_attach(&a, &heap, t->fd, t->base, t->size / 2, &e) ==
        TM_EINVAL);
  CHECK(tm__arena_attach(&a, &heap, t->fd, t->base, t->size * 2, &e) < 0);
  CHECK(tm__arena_attach(&a, &heap, t->fd, t->base, t->size, &e) == TM_OK);
  if (!a) return false;
  CHECK(tm__store_attach(&s, &heap, a, t->root, NULL) == TM_OK);
  tm__store_child(s, tm__arena_at(a, t->ledger));
  CHECK(tm__store_update(s, t->key, "from afar", 9, NULL) == TM_OK);
  CHECK(tm__store_retain(s, t->key));
  tm__key mine;
  CHECK(tm__store_add(s, TM__OBJECT, 0, "mine", 4, &mine, NULL) == TM_OK);
  tm__store_free(s);
  tm__arena_free(a);
  return true;
}

static void attached(void) {
  open_store();
  tm__ledger *l = tm__ledger_new(arena);
  told t = {.base = tm__arena_at(arena, 0),
            .size = tm__arena_size(arena),
            .fd = dup(tm__arena_fd(arena)),
            .root = tm__store_root(store),
            .ledger = tm__arena_offset(arena, l),
            .key = add("before")};
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    check_failed = 0;
    _exit(attach(&t) && !check_failed ? 0 : 1);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  close(t.fd);
  tm__pin p;
  CHECK(tm__store_pin(store, t.key, &p, NULL) == TM_OK && p.version == 2);
  CHECK(p.len == 9 && !memcmp(p.bytes, "from afar", 9));
  tm__store_unpin(store, &p);
  CHECK(handles(t.key) == 2 && tm__store_count(store) == 2);
  settle(pid, l);
  CHECK(handles(t.key) == 1 && tm__store_count(store) == 1);
  close_store(true);
}

int main(void) {
  table();
  passing_ids();
  full_table();
  what_it_keeps();
  keys_in_values();
  messages();
  inheritance();
  attached();
  return check_done();
}
