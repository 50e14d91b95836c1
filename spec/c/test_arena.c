/* Tests of store/arena.h; of its inside only to stop a process half way. */

#include "store/arena_impl.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/platform.h"
#include "check.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static const tm__mem heap = {tm__heap_alloc, NULL};

static tm__arena *open_arena(size_t size) {
  tm__arena *a;
  tm_error e = {0};
  if (tm__arena_new(&a, &heap, size, &e)) {
    fprintf(stderr, "%s\n", e.text);
    exit(EXIT_FAILURE);
  }
  return a;
}

static tm__arena_stats stat_of(tm__arena *a) {
  tm__arena_stats st;
  tm__arena_stat(a, &st);
  return st;
}

static void close_arena(tm__arena *a) {
  CHECK(stat_of(a).blocks == 0 && stat_of(a).used == 0);
  tm__arena_free(a);
}

/* The pages of a shared mapping that this process has, from smaps; -1 when
   there is no such mapping. */
static long resident_kib(const void *p) {
  FILE *f = fopen("/proc/self/smaps", "re");
  char line[512];
  bool here = false;
  unsigned long from, to;
  long kib = -1;
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
      here = (uintptr_t)p >= from && (uintptr_t)p < to;
    else if (here && sscanf(line, "Rss: %ld", &kib) == 1)
      break;
  }
  if (f) fclose(f);
  return kib;
}

static void sizes(void) {
  tm__arena *a = open_arena(64 * MIB);
  for (size_t n = 0; n < 600 * KIB; n += n / 37 + 1) {
    unsigned char *p = tm__arena_alloc(a, n);
    unsigned char *q = tm__arena_alloc(a, n);
    CHECK(p && q && tm__arena_holds(a, p));
    size_t room = tm__arena_block_size(a, p);
    CHECK(room >= n && (uintptr_t)p % (n >= 64 ? 64 : 16) == 0);
    CHECK(p + room <= q || q + room <= p);
    size_t slack = n <= 256 ? 64 : n <= 224 * KIB ? n / 4 : 64 * KIB;
    CHECK(room <= n + slack);
    memset(p, 0xaa, room);
    memset(q, 0xbb, room);
    CHECK(p[0] == 0xaa && p[room - 1] == 0xaa);
    tm__arena_release(a, p);
    CHECK(q[0] == 0xbb && q[room - 1] == 0xbb);
    tm__arena_release(a, q);
  }
  close_arena(a);
}

static void addresses(void) {
  tm__arena *a = open_arena(8 * MIB);
  int x;
  unsigned char *p = tm__arena_alloc(a, 100);
  CHECK(tm__arena_at(a, tm__arena_offset(a, p)) == p);
  CHECK(!tm__arena_holds(a, &x) && !tm__arena_holds(a, NULL));
  unsigned char *base = tm__arena_at(a, 0);
  CHECK(tm__arena_holds(a, base) && tm__arena_holds(a, base + 8 * MIB - 1));
  CHECK(!tm__arena_holds(a, base + 8 * MIB) && !tm__arena_holds(a, base - 1));
  CHECK(stat_of(a).reserved == 8 * MIB && stat_of(a).blocks == 1);
  CHECK(stat_of(a).used == 128 && stat_of(a).segments == 1);
  tm__arena_release(a, p);
  tm__arena_release(a, NULL);
  close_arena(a);
}

static void large_blocks(void) {
  tm__arena *a = open_arena(64 * MIB);
  long before = resident_kib(tm__arena_at(a, 0));
  for (int i = 0; i < 10; i++) {
    unsigned char *p = tm__arena_alloc(a, 20 * MIB + 1);
    unsigned char *q = tm__arena_alloc(a, 256 * KIB);
    CHECK(p && q && p[0] == 0 && p[20 * MIB] == 0 && q[0] == 0);
    memset(p, 1, 20 * MIB + 1);
    memset(q, 1, 256 * KIB);
    long now = resident_kib(tm__arena_at(a, 0)) - before;
    CHECK(now >= 20 * KIB + 256 && now < 20 * KIB + 256 + 64);
    tm__arena_release(a, p);
    tm__arena_release(a, q);
  }
  CHECK(resident_kib(tm__arena_at(a, 0)) - before < 64);
  close_arena(a);
}

/* Address space costs nothing, and neither does taking it again. */
static void a_gibibyte_each_time(void) {
  tm__arena *a;
  if (tm__arena_new(&a, &heap, (size_t)2048 * MIB, NULL)) return;
  for (int i = 0; i < 100; i++) {
    unsigned char *p = tm__arena_alloc(a, (size_t)1024 * MIB);
    if (!CHECK(p != NULL)) break;
    p[0] = p[1024 * MIB - 1] = 1;
    tm__arena_release(a, p);
  }
  CHECK(resident_kib(tm__arena_at(a, 0)) < 1024);
  close_arena(a);
}

static void empty_segments(void) {
  tm__arena *a = open_arena(64 * MIB);
  enum { N = 10000 };
  static void *p[N];
  for (int i = 0; i < N; i++) memset(p[i] = tm__arena_alloc(a, 1024), 1, 1024);
  CHECK(stat_of(a).used == N * 1024 && stat_of(a).segments > N / 64);
  CHECK(resident_kib(p[0]) >= N);
  for (int i = 0; i < N; i++) tm__arena_release(a, p[i * 7 % N]);
  CHECK(stat_of(a).segments == 1);
  CHECK(resident_kib(tm__arena_at(a, 0)) < 256);
  close_arena(a);
}

/* Fills the arena with blocks of one size, a list through them; answers how
   many there were room for. */
static int fill_and_empty(tm__arena *a, size_t size) {
  int count = 0;
  for (void *list = NULL, *p;; count++) {
    p = tm__arena_alloc(a, size);
    if (p) *(void **)p = list;
    if (p) list = p;
    if (p) continue;
    for (; list; list = p) {
      p = *(void **)list;
      tm__arena_release(a, list);
    }
    return count;
  }
}

/* What one size leaves behind does not stand in another's way. */
static void until_it_is_full(void) {
  tm__arena *a = open_arena(4 * MIB);
  int small = fill_and_empty(a, 200);
  CHECK(small > 3 * MIB / 256);
  int large = fill_and_empty(a, MIB);
  CHECK(large == 3);
  CHECK(fill_and_empty(a, 100 * KIB) >= 25);
  CHECK(fill_and_empty(a, 200) == small);
  CHECK(fill_and_empty(a, MIB) == large);
  CHECK(!tm__arena_alloc(a, 5 * MIB) && !tm__arena_alloc(a, SIZE_MAX));
  close_arena(a);
}

static void as_an_allocator(void) {
  tm__arena *a = open_arena(64 * MIB);
  const tm__mem *mem = tm__arena_mem(a);
  unsigned char *p = tm__alloc(mem, 100), *q;
  memset(p, 5, 100);
  CHECK(tm__realloc(mem, p, 128) == p && tm__realloc(mem, p, 90) == p);
  q = tm__realloc(mem, p, 5 * MIB);
  CHECK(q && q != p && q[0] == 5 && q[99] == 5);
  CHECK(!tm__realloc(mem, q, 100 * MIB) && q[99] == 5);
  p = tm__realloc(mem, q, 50);
  CHECK(p && p != q && p[49] == 5 && tm__arena_block_size(a, p) == 64);
  tm__free(mem, p);
  tm__free(mem, NULL);
  close_arena(a);
}

static void refusals(void) {
  tm_error e = {0};
  tm__arena *a = NULL;
  CHECK(tm__arena_new(&a, &heap, SIZE_MAX, &e) == TM_ENOMEM && !a);
  CHECK(strstr(e.text, "smaller arena") && strstr(e.text, "ulimit -v"));
  check_heap h = {.fail_at = 1};
  tm__mem mem = {check_alloc, &h};
  CHECK(tm__arena_new(&a, &mem, 2 * MIB, &e) == TM_ENOMEM && !a);
  CHECK(tm__arena_new(&a, &mem, 2 * MIB, NULL) == TM_OK && h.live == 1);
  tm__arena_free(a);
  CHECK(h.live == 0);
  CHECK(tm__arena_new(&a, &mem, SIZE_MAX, NULL) == TM_ENOMEM && h.live == 0);
  tm__arena_free(NULL);
}

static bool little_space(void *arg) {
  (void)arg;
  struct rlimit limit = {256 * MIB, 256 * MIB};
  CHECK(!setrlimit(RLIMIT_AS, &limit));
  tm__arena *a;
  tm_error e = {0};
  CHECK(tm__arena_new(&a, &heap, 256 * MIB, &e) == TM_ENOMEM && e.text[0]);
  CHECK(tm__arena_new(&a, &heap, 0, &e) == TM_OK);
  CHECK(stat_of(a).reserved >= 16 * MIB && stat_of(a).reserved < 256 * MIB);
  unsigned char *p = tm__arena_alloc(a, 8 * MIB);
  return p && p[8 * MIB - 1] == 0;
}

/* Valgrind reads what is mapped, and so makes it. */
static bool checked_space(void *arg) {
  (void)arg;
  setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so",
         true);
  tm__arena *a = open_arena(0);
  return stat_of(a).reserved <= 256 * MIB;
}

static void automatic_size(void) {
  tm__arena *a = open_arena(0);
  CHECK(stat_of(a).reserved >= 16 * MIB);
  close_arena(a);
  CHECK(CHECK_SANITIZED || check_child(little_space, NULL));
  CHECK(check_child(checked_space, NULL));
}

/* A table that threads or processes put blocks into and take them from: most
   are freed by another than who made them. Each block is filled with one
   byte. */
enum { PLACES = 64, WORKERS = 4, ROUNDS = 10000 };

typedef struct table {
  _Atomic uint64_t places[PLACES]; /* offsets; 0: none */
  _Atomic int bad, started;
} table;

static tm__arena *shared;

/* Most are small; now and then there is one of each other sort. */
static size_t any_size(uint32_t x) {
  if (x % 64 == 0) return 1 + x / 64 % (600 * KIB);
  if (x % 8 == 0) return 1 + x / 64 % (20 * KIB);
  return 1 + x / 64 % 500;
}

static void drop(table *t, uint64_t offset) {
  if (!offset) return;
  unsigned char *p = tm__arena_at(shared, offset);
  size_t room = tm__arena_block_size(shared, p);
  for (size_t i = 0; i < room; i += room / 16 + 1) t->bad += p[i] != p[0];
  t->bad += p[room - 1] != p[0];
  tm__arena_release(shared, p);
}

static void swap_one(table *t, uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  unsigned char *p = tm__arena_alloc(shared, any_size(*seed >> 4));
  if (p) memset(p, (int)(*seed >> 24), tm__arena_block_size(shared, p));
  uint64_t offset = p ? tm__arena_offset(shared, p) : 0;
  t->bad += p == NULL;
  drop(t, atomic_exchange(&t->places[*seed >> 8 & (PLACES - 1)], offset));
}

static void *swap_many(void *arg) {
  table *t = arg;
  uint32_t seed = (uint32_t)atomic_fetch_add(&t->started, 1) * 7919u + 1;
  for (int i = 0; i < ROUNDS; i++) swap_one(t, &seed);
  return NULL;
}

static table *open_table(void) {
  shared = open_arena(256 * MIB);
  table *t = tm__arena_alloc(shared, sizeof *t);
  memset(t, 0, sizeof *t);
  return t;
}

static void empty_table(table *t) {
  for (int i = 0; i < PLACES; i++) drop(t, atomic_exchange(&t->places[i], 0));
  CHECK(t->bad == 0);
}

static void from_threads(void) {
  table *t = open_table();
  pthread_t threads[WORKERS];
  for (int i = 0; i < WORKERS; i++)
    pthread_create(&threads[i], NULL, swap_many, t);
  for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
  empty_table(t);
  tm__arena_release(shared, t);
  close_arena(shared);
}

static void from_processes(void) {
  table *t = open_table();
  /* The children inherit bins that are in use. */
  uint32_t seed = 5;
  for (int i = 0; i < 1000; i++) swap_one(t, &seed);
  pid_t pids[WORKERS];
  fflush(NULL);
  for (int i = 0; i < WORKERS; i++) {
    pids[i] = fork();
    if (pids[i]) continue;
    tm__arena_child(shared);
    swap_many(t);
    _exit(0);
  }
  swap_many(t);
  for (int i = 0; i < WORKERS; i++) {
    int status;
    CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    tm__arena_settle(shared, pids[i]);
  }
  empty_table(t);
  tm__arena_release(shared, t);
  tm__arena_settle(shared, 0);
  CHECK(stat_of(shared).segments == 0);
  close_arena(shared);
}

/* A child leaves blocks behind and dies: they stay, become the parent's to
   free, and their segments with them. */
static bool leave_blocks(void *arg) {
  table *t = arg;
  tm__arena_child(shared);
  for (int i = 0; i < PLACES; i++) {
    size_t size = (size_t)(i + 1) * 5000;
    unsigned char *p = tm__arena_alloc(shared, size);
    memset(p, i + 1, tm__arena_block_size(shared, p));
    t->places[i] = tm__arena_offset(shared, p);
  }
  return kill(getpid(), SIGKILL) == 0;
}

static void legacy_of_the_dead(void) {
  table *t = open_table();
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) _exit(leave_blocks(t));
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
  CHECK(stat_of(shared).blocks == PLACES + 1);
  tm__arena_settle(shared, pid);
  CHECK(stat_of(shared).blocks == PLACES + 1);
  unsigned char *p = tm__arena_at(shared, t->places[2]);
  CHECK(p[0] == 3 && p[14999] == 3);
  empty_table(t);
  tm__arena_release(shared, t);
  tm__arena_settle(shared, pid);
  CHECK(stat_of(shared).segments == 0);
  close_arena(shared);
}

/* Leaves a run as it is in the middle of being taken or given back. */
static bool stop_half_way(void *arg) {
  int step = *(int *)arg;
  tm__arena_child(shared);
  uint32_t n = 16, unit = tm__run_claim(shared, n, TM__LARGE);
  if (step == 0) return unit != 0;
  memset(tm__unit_at(shared, unit), 1, n * TM__UNIT);
  uint64_t freeing = tm__word_make(TM__FREEING, shared->pid, n);
  atomic_store(&shared->words[unit], freeing);
  if (step == 1) return unit != 0;
  memset(tm__unit_at(shared, unit), 0, n * TM__UNIT);
  atomic_store(&shared->words[unit + 1], 0);
  atomic_store(&shared->region->hints[0], unit + 1);
  return unit != 0;
}

static void settle_all_children(void) {
  uint32_t top = shared->region->top;
  for (uint32_t unit = shared->region->meta; unit < top; unit++) {
    uint64_t word = shared->words[unit];
    if (tm__word_kind(word) == TM__CLAIMED ||
        tm__word_kind(word) == TM__FREEING)
      tm__arena_settle(shared, tm__word_pid(word));
  }
}

static void half_done(void) {
  for (int step = 0; step < 3; step++) {
    shared = open_arena(2 * MIB);
    CHECK(check_child(stop_half_way, &step));
    CHECK(!tm__arena_alloc(shared, MIB + MIB / 2));
    unsigned char *own = NULL;
    if (step == 2) own = tm__arena_alloc(shared, 1000);
    if (own) memset(own, 9, 1000);
    settle_all_children();
    CHECK(!own || (own[0] == 9 && own[999] == 9));
    tm__arena_release(shared, own);
    tm__arena_settle(shared, 0);
    unsigned char *p = tm__arena_alloc(shared, MIB + MIB / 2);
    CHECK(p != NULL);
    size_t zeros = 0;
    while (p && zeros < MIB + MIB / 2 && p[zeros] == 0) zeros++;
    CHECK(zeros == MIB + MIB / 2);
    tm__arena_release(shared, p);
    close_arena(shared);
  }
}

/* Killed anywhere: at most what it held then is lost, nothing is broken. */
static void killed_in_the_middle(void) {
  table *t = open_table();
  for (int round = 0; round < 20; round++) {
    t->started = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
      tm__arena_child(shared);
      for (uint32_t seed = (uint32_t)round;; t->started++) swap_one(t, &seed);
    }
    while (t->started < 100) sched_yield();
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    tm__arena_settle(shared, pid);
    uint32_t seed = (uint32_t)round + 77;
    for (int i = 0; i < 500; i++) swap_one(t, &seed);
    CHECK(t->bad == 0);
  }
  empty_table(t);
  tm__arena_release(shared, t);
  CHECK(stat_of(shared).blocks <= 3 * 20);
  tm__arena_free(shared);
}

int main(void) {
  sizes();
  addresses();
  large_blocks();
  a_gibibyte_each_time();
  empty_segments();
  until_it_is_full();
  as_an_allocator();
  refusals();
  automatic_size();
  from_threads();
  from_processes();
  legacy_of_the_dead();
  half_done();
  killed_in_the_middle();
  return check_done();
}
