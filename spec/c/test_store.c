/* Tests of store/store.h and store/counter.h. */

#include "store/store.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "store/counter.h"

enum { MIB = 1024 * 1024 };

static const tm__mem heap = {tm__heap_alloc, NULL};
static tm__arena *arena;
static tm__store *store;

static void open_store(size_t size) {
  CHECK(tm__arena_new(&arena, &heap, size, NULL) == TM_OK);
  CHECK(tm__store_new(&store, &heap, arena, NULL) == TM_OK);
}

static size_t blocks(void) {
  tm__arena_stats st;
  tm__arena_stat(arena, &st);
  return st.blocks;
}

/* Nothing may be left in the arena. */
static void close_store(void) {
  tm__store_free(store);
  CHECK(blocks() == 0);
  tm__arena_free(arena);
}

static tm__key add(const char *text) {
  tm__key key;
  CHECK(tm__store_add(store, TM__OBJECT, 7, text, strlen(text), &key, NULL) ==
        TM_OK);
  return key;
}

static bool holds(tm__key key, const char *text, uint64_t version) {
  tm__pin p;
  if (tm__store_pin(store, key, &p, NULL)) return false;
  bool same = p.len == strlen(text) && !memcmp(p.bytes, text, p.len) &&
              p.version == version && (uintptr_t)p.bytes % 64 == 0;
  tm__store_unpin(store, &p);
  return same && tm__store_version(store, key) == version;
}

/* Every call finds it gone. */
static bool gone(tm__key key) {
  tm__pin p;
  tm_error e = {0};
  bool all = tm__store_pin(store, key, &p, &e) == TM_ENOKEY &&
             tm__store_update(store, key, "", 0, NULL) == TM_ENOKEY &&
             !tm__store_retain(store, key);
  tm__store_unpin(store, &p);
  tm__store_release(store, key);
  tm__store_remove(store, key);
  return all && e.code == TM_ENOKEY && strstr(e.text, "removed") &&
         !tm__store_version(store, key) && !tm__store_kind_of(store, key) &&
         !tm__store_owner(store, key);
}

static void one_entry(void) {
  open_store(16 * MIB);
  tm__key key = add("first");
  CHECK(key != 0 && tm__store_count(store) == 1);
  CHECK(holds(key, "first", 1));
  CHECK(tm__store_kind_of(store, key) == TM__OBJECT);
  CHECK(tm__store_owner(store, key) == 7);
  CHECK(tm__store_update(store, key, "the second", 10, NULL) == TM_OK);
  CHECK(holds(key, "the second", 2));
  CHECK(tm__store_update(store, key, NULL, 0, NULL) == TM_OK);
  CHECK(holds(key, "", 3));
  tm__store_remove(store, key);
  CHECK(gone(key) && tm__store_count(store) == 0);
  CHECK(gone(0) && gone(UINT64_MAX) && gone(key + 1));
  close_store();
}

static void handles(void) {
  open_store(16 * MIB);
  tm__key key = add("x");
  CHECK(tm__store_retain(store, key) && tm__store_retain(store, key));
  tm__store_release(store, key);
  tm__store_release(store, key);
  CHECK(holds(key, "x", 1));
  tm__store_release(store, key);
  CHECK(gone(key));
  key = add("y");
  CHECK(tm__store_retain(store, key));
  tm__store_remove(store, key);
  CHECK(gone(key));
  close_store();
}

/* A slot is used again, its key is not. */
static void keys_are_new(void) {
  open_store(16 * MIB);
  enum { N = 300 };
  tm__key keys[N];
  for (int i = 0; i < N; i++) {
    keys[i] = add("k");
    bool seen = false;
    for (int k = 0; k < i; k++) seen = seen || keys[k] == keys[i];
    CHECK(!seen);
    if (i % 3) tm__store_remove(store, keys[i]);
  }
  for (int i = 0; i < N; i++)
    CHECK(i % 3 ? gone(keys[i]) : holds(keys[i], "k", 1));
  CHECK(tm__store_count(store) == N / 3);
  close_store();
}

static void many_entries(void) {
  open_store(64 * MIB);
  enum { N = 5000 };
  static tm__key keys[N];
  char text[20];
  for (int i = 0; i < N; i++) {
    snprintf(text, sizeof text, "entry %d", i);
    keys[i] = add(text);
  }
  int good = 0;
  for (int i = 0; i < N; i++) {
    snprintf(text, sizeof text, "entry %d", i);
    good += holds(keys[i], text, 1);
  }
  CHECK(good == N && tm__store_count(store) == N);
  close_store();
}

static void pins(void) {
  open_store(16 * MIB);
  tm__key key = add("old");
  tm__pin a, b, c;
  CHECK(tm__store_pin(store, key, &a, NULL) == TM_OK);
  CHECK(tm__store_pin(store, key, &b, NULL) == TM_OK);
  size_t before = blocks();
  CHECK(tm__store_update(store, key, "new", 3, NULL) == TM_OK);
  CHECK(blocks() == before + 1);
  CHECK(!memcmp(a.bytes, "old", 3) && a.version == 1);
  CHECK(tm__store_pin(store, key, &c, NULL) == TM_OK && c.version == 2);
  tm__store_unpin(store, &a);
  CHECK(!memcmp(b.bytes, "old", 3) && blocks() == before + 1);
  tm__store_unpin(store, &b);
  CHECK(blocks() == before);
  tm__store_remove(store, key);
  CHECK(!memcmp(c.bytes, "new", 3));
  tm__store_unpin(store, &c);
  tm__store_unpin(store, &c);
  CHECK(blocks() == before - 1);
  close_store();
}

static void zeros(void) {
  open_store(64 * MIB);
  static const size_t sizes[] = {0, 1, 1000, 300 * 1024, 20 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    tm__key key;
    tm__pin p;
    CHECK(tm__store_add(store, TM__BUFFER, 0, NULL, sizes[i], &key, NULL) ==
          TM_OK);
    CHECK(tm__store_pin(store, key, &p, NULL) == TM_OK && p.len == sizes[i]);
    if (p.len) CHECK(p.bytes[0] == 0 && p.bytes[p.len - 1] == 0);
    if (p.len) memset((unsigned char *)p.bytes, 1, p.len);
    tm__store_unpin(store, &p);
    tm__store_remove(store, key);
  }
  close_store();
}

static void full_arena(void) {
  open_store(4 * MIB);
  static unsigned char big[3 * MIB];
  tm__key key = add("small"), other = 1;
  tm_error e = {0};
  CHECK(tm__store_update(store, key, big, sizeof big, NULL) == TM_OK);
  CHECK(tm__store_update(store, key, big, sizeof big, &e) == TM_ENOMEM);
  CHECK(strstr(e.text, "3145728 bytes") != NULL);
  CHECK(tm__store_add(store, TM__OBJECT, 0, big, sizeof big, &other, &e) ==
            TM_ENOMEM &&
        other == 0);
  CHECK(tm__store_add(store, TM__OBJECT, 0, big, SIZE_MAX, &other, &e) ==
        TM_ENOMEM);
  CHECK(tm__store_version(store, key) == 2 && tm__store_count(store) == 1);
  tm__store_remove(store, key);
  CHECK(tm__store_add(store, TM__OBJECT, 0, big, sizeof big, &other, &e) ==
        TM_OK);
  int n = 0;
  while (!tm__store_add(store, TM__OBJECT, 0, big, 9000, &key, &e)) n++;
  CHECK(n > 10 && tm__store_count(store) == (size_t)n + 1);
  close_store();
}

static void no_memory(void) {
  for (long n = 1;; n++) {
    check_heap h = {.fail_at = n};
    tm__mem mem = {check_alloc, &h};
    CHECK(tm__arena_new(&arena, &heap, 2 * MIB, NULL) == TM_OK);
    tm_error e = {0};
    int status = tm__store_new(&store, &mem, arena, &e);
    if (status == TM_OK) tm__store_free(store);
    CHECK(status == TM_OK || (status == TM_ENOMEM && !store && e.text[0]));
    CHECK(h.live == 0 && blocks() == 0);
    tm__arena_free(arena);
    if (status == TM_OK) break;
  }
  tm__store_free(NULL);
}

/* What all hammer on: keys that anybody may replace, remove and read. A value
   is one byte, many times, so that a torn or freed one shows. */
enum { SHARED = 4, ROUNDS = 3000, WORKERS = 4 };

typedef struct anvil {
  _Atomic tm__key keys[SHARED];
  _Atomic int bad, started;
} anvil;

static void read_one(anvil *a, tm__key key) {
  tm__pin p;
  if (tm__store_pin(store, key, &p, NULL)) return;
  for (size_t i = 1; i < p.len; i++) a->bad += p.bytes[i] != p.bytes[0];
  a->bad += p.version == 0;
  tm__store_unpin(store, &p);
}

static void hit(anvil *a, uint32_t *seed) {
  unsigned char bytes[300];
  *seed = *seed * 1664525u + 1013904223u;
  uint32_t x = *seed >> 8;
  size_t len = 1 + x % sizeof bytes;
  memset(bytes, (int)(x & 0xff), len);
  _Atomic tm__key *place = &a->keys[x % SHARED];
  tm__key key = *place;
  if (x >> 4 & 1) read_one(a, key);
  if (x >> 5 & 1) tm__store_update(store, key, bytes, len, NULL);
  if (x >> 6 & 1 && tm__store_retain(store, key)) tm__store_release(store, key);
  if ((x >> 7 & 15) == 0) {
    tm__key fresh = 0;
    if (tm__store_add(store, TM__OBJECT, 0, bytes, len, &fresh, NULL)) a->bad++;
    tm__store_release(store, atomic_exchange(place, fresh));
  }
}

static void *hammer(void *arg) {
  anvil *a = arg;
  uint32_t seed = (uint32_t)atomic_fetch_add(&a->started, 1) * 7919u + 1;
  for (int i = 0; i < ROUNDS; i++) hit(a, &seed);
  return NULL;
}

static anvil *make_anvil(void) {
  anvil *a = tm__arena_alloc(arena, sizeof *a);
  memset(a, 0, sizeof *a);
  for (int i = 0; i < SHARED; i++) a->keys[i] = add("zzz");
  return a;
}

static void drop_anvil(anvil *a) {
  CHECK(a->bad == 0);
  CHECK(tm__store_count(store) == SHARED);
  for (int i = 0; i < SHARED; i++) {
    read_one(a, a->keys[i]);
    tm__store_release(store, a->keys[i]);
  }
  CHECK(tm__store_count(store) == 0);
  tm__arena_release(arena, a);
}

static void from_threads(void) {
  open_store(64 * MIB);
  anvil *a = make_anvil();
  pthread_t threads[WORKERS];
  for (int i = 0; i < WORKERS; i++)
    pthread_create(&threads[i], NULL, hammer, a);
  for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
  drop_anvil(a);
  close_store();
}

static void from_processes(void) {
  open_store(64 * MIB);
  anvil *a = make_anvil();
  pid_t pids[WORKERS];
  fflush(NULL);
  for (int i = 0; i < WORKERS; i++) {
    pids[i] = fork();
    if (pids[i]) continue;
    tm__arena_child(arena);
    hammer(a);
    _exit(0);
  }
  for (int i = 0; i < WORKERS; i++) {
    int status;
    CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    tm__arena_settle(arena, pids[i]);
  }
  drop_anvil(a);
  close_store();
}

/* A reader or writer that is killed in the middle blocks nobody. */
static void killed_in_the_middle(void) {
  open_store(64 * MIB);
  anvil *a = make_anvil();
  for (int round = 0; round < 10; round++) {
    fflush(NULL);
    a->started = 0;
    pid_t pid = fork();
    if (pid == 0) {
      tm__arena_child(arena);
      for (uint32_t seed = 1;; a->started++) hit(a, &seed);
    }
    while (a->started < 50) sched_yield();
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    tm__arena_settle(arena, pid);
    uint32_t seed = (uint32_t)round;
    for (int i = 0; i < 200; i++) hit(a, &seed);
    CHECK(a->bad == 0);
  }
  tm__store_free(store);
  tm__arena_free(arena);
}

static void counter_steps(void) {
  tm__counter c = {.every = 10};
  int64_t reached = 0;
  CHECK(!tm__counter_add(&c, 9, &reached));
  CHECK(tm__counter_add(&c, 1, &reached) && reached == 10);
  CHECK(!tm__counter_add(&c, 0, &reached) && !tm__counter_add(&c, 9, &reached));
  CHECK(tm__counter_add(&c, 25, &reached) && reached == 44);
  CHECK(!tm__counter_add(&c, -30, &reached) && tm__counter_value(&c) == 14);
  CHECK(tm__counter_add(&c, 6, &reached) && reached == 20);
  CHECK(!tm__counter_add(&c, -25, &reached));
  CHECK(!tm__counter_add(&c, 4, &reached) && tm__counter_value(&c) == -1);
  CHECK(tm__counter_add(&c, 1, &reached) && reached == 0);
  c.every = 0;
  CHECK(!tm__counter_add(&c, 1000, &reached));
  CHECK(tm__counter_value(&c) == 1000);
}

enum { STEPS = 5000, EVERY = 7 };

typedef struct tally {
  tm__counter *counter;
  _Atomic int told;
} tally;

static void *count_up(void *arg) {
  tally *t = arg;
  int64_t reached;
  for (int i = 0; i < STEPS; i++)
    if (tm__counter_add(t->counter, 1, &reached)) t->told++;
  return NULL;
}

static void counter_from_threads(void) {
  open_store(16 * MIB);
  tm__counter first = {.every = EVERY};
  tm__key key;
  tm__pin p;
  CHECK(tm__store_add(store, TM__COUNTER, 0, &first, sizeof first, &key,
                      NULL) == TM_OK);
  CHECK(tm__store_pin(store, key, &p, NULL) == TM_OK);
  tally t = {.counter = (tm__counter *)(void *)p.bytes};
  pthread_t threads[WORKERS];
  for (int i = 0; i < WORKERS; i++)
    pthread_create(&threads[i], NULL, count_up, &t);
  for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
  CHECK(tm__counter_value(t.counter) == WORKERS * STEPS);
  CHECK(t.told == WORKERS * STEPS / EVERY);
  tm__store_unpin(store, &p);
  tm__store_release(store, key);
  close_store();
}

int main(void) {
  one_entry();
  handles();
  keys_are_new();
  many_entries();
  pins();
  zeros();
  full_arena();
  no_memory();
  from_threads();
  from_processes();
  killed_in_the_middle();
  counter_steps();
  counter_from_threads();
  return check_done();
}
