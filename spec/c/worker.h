/*
 * worker.h: what the tests of the store in worker processes share: one arena
 * and store, and what is held there
 */
#ifndef TM_SPEC_WORKER_H
#define TM_SPEC_WORKER_H

#include <string.h>

#include "check.h"
#include "store/message.h"
#include "store/store_impl.h"

enum { MIB = 1024 * 1024 };

static const tm__mem heap = {tm__heap_alloc, NULL};
static tm__arena *arena;
static tm__store *store;

static inline size_t blocks(void) {
  tm__arena_stats st;
  tm__arena_stat(arena, &st);
  return st.blocks;
}

static inline void open_store(void) {
  CHECK(tm__arena_new(&arena, &heap, 64 * MIB, NULL) == TM_OK);
  CHECK(tm__store_new(&store, &heap, arena, NULL) == TM_OK);
}

/* After deaths some blocks may be left. */
static inline void close_store(bool clean) {
  tm__store_free(store);
  if (clean) CHECK(blocks() == 0);
  tm__arena_free(arena);
}

static inline tm__key add(const char *text) {
  tm__key key;
  CHECK(tm__store_add(store, TM__OBJECT, 7, text, strlen(text), &key, NULL) ==
        TM_OK);
  return key;
}

static inline uint32_t handles(tm__key key) {
  tm__slot *e = tm__slot_of(store, key);
  return atomic_load(&e->key) == key ? atomic_load(&e->handles) : 0;
}

/* Pins on the current value, wherever they are counted. */
static inline int64_t pins(tm__key key) {
  uint64_t word = atomic_load(&tm__slot_of(store, key)->value);
  tm__value *v = tm__arena_at(arena, word >> TM__PIN_BITS << 6);
  return atomic_load(&v->refs) - TM__CURRENT + (int64_t)(word & TM__PIN_MASK);
}

static inline tm__msg *message(tm__store *s, tm__key key) {
  tm__buf b;
  tm__keys k;
  tm__buf_init(&b, &heap);
  tm__keys_init(&k, &heap);
  CHECK(tm__msg_open(&b) && tm__keys_hold(&k, s, key) == TM_OK);
  return tm__msg_seal(&b, &k);
}

/* A fork for f; its ledger. */
static inline pid_t fork_worker(tm__ledger *l, void (*f)(void *), void *arg) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid) return pid;
  check_failed = 0;
  tm__arena_child(arena);
  tm__store_child(store, l);
  f(arg);
  _exit(check_failed ? 1 : 0);
}

static inline void settle(pid_t pid, tm__ledger *l) {
  tm__arena_settle(arena, pid);
  tm__store_settle(store, l);
}

#endif
