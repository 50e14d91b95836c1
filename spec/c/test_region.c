/*
 * Regions: every item once, the same bits from any number of workers, the
 * lowest failure, stops, and callers that compete. Pools here have no Lua.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"
#include "run/region.h"
#include "run/runtime.h"

/* ---- pools whose workers have nothing but regions to do ---- */

static int guest_open(tm__worker *w, void **state, tm_error *e) {
  (void)e;
  *state = w;
  return TM_OK;
}

static void guest_close(tm__worker *w, void *state) {
  (void)w;
  (void)state;
}

static size_t guest_memory(tm__worker *w) {
  (void)w;
  return 0;
}

static const tm__guest guest = {
    .open = guest_open, .close = guest_close, .memory = guest_memory};

static tm_runtime *rt;

static tm__pool *start(int workers) {
  tm__pool *pool = NULL;
  tm__pool_options o = {.kind = &tm__worker_thread,
                        .guest = &guest,
                        .workers = workers,
                        .pin = TM__PIN_NO};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
  return pool;
}

static void stop(tm__pool *pool) {
  tm__pool_close(pool);
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK);
  tm__pool_unref(pool);
}

static tm__kernel *kernel(const tm_kernel *entry) {
  tm_error e;
  tm__kernel *k = tm__kernels_find(&rt->kernels, NULL, entry->name);
  if (k) return k;
  if (tm__kernels_add(&rt->kernels, entry, &e)) fprintf(stderr, "%s\n", e.text);
  return tm__kernels_find(&rt->kernels, NULL, entry->name);
}

/* One run; the reduction's first element goes to *result when not NULL. */
typedef struct outcome {
  int64_t fail_at;
  int stopped;
  char failure[400];
} outcome;

static outcome run(tm__pool *pool, tm__kernel *k, const tm_arg *args,
                   int64_t first, int64_t last, int64_t chunk, void *result) {
  tm__call c;
  const void *elements;
  tm__region_options o = {.chunk = chunk};
  CHECK(tm__call_init(&c, k, &rt->mem, args, first, last, NULL) == TM_OK);
  tm__region_run(pool, &c, &o);
  outcome out = {.fail_at = c.fail_at, .stopped = tm__call_stopped(&c)};
  strcpy(out.failure, c.failure);
  if (out.fail_at == INT64_MAX && !out.stopped) {
    tm__call_finish(&c, &elements);
    if (result && elements)
      memcpy(result, elements, (size_t)k->reduce.count * 8);
  }
  tm__call_term(&c);
  return out;
}

/* ---- every item once ---- */

static int count_up(const tm_call *c, const tm_arg *a) {
  if (c->worker < 0 || c->worker >= c->workers) return 1;
  for (int64_t i = c->first; i < c->last; i++) a[0].u8[i]++;
  return 0;
}

static int count_item(const tm_call *c, const tm_arg *a) {
  a[0].u8[c->first]++;
  return c->last == c->first + 1 ? 0 : 1;
}

enum { N = 3000 };
static uint8_t counts[N];

static bool all_are(int64_t first, int64_t last, uint8_t value) {
  for (int64_t i = 0; i < N; i++)
    if (counts[i] != (i >= first && i < last ? value : 0)) return false;
  return true;
}

static void test_once(tm__pool *pool) {
  static const tm_kernel entries[] = {
      {"count_up", count_up, TM_KIND_RANGE, "u8[] x", NULL, 0, NULL, NULL},
      {"count_item", count_item, TM_KIND_ITEM, "u8[] x", NULL, 0, NULL, NULL}};
  static const int64_t chunks[] = {0, 1, 7, N, 10 * N};
  tm_arg a = {.u8 = counts, .n = N};
  for (int e = 0; e < 2; e++)
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
      tm__kernel *k = kernel(&entries[e]);
      memset(counts, 0, sizeof counts);
      for (int again = 0; again < 20; again++)
        run(pool, k, &a, 0, N, chunks[i], NULL);
      CHECK(all_are(0, N, 20));
      memset(counts, 0, sizeof counts);
      CHECK(run(pool, k, &a, 5, 17, chunks[i], NULL).fail_at == INT64_MAX);
      CHECK(all_are(5, 17, 1));
      CHECK(run(pool, k, &a, 9, 9, chunks[i], NULL).fail_at == INT64_MAX);
      CHECK(all_are(5, 17, 1));
    }
}

/* ---- both threads meet ---- */

static _Atomic int arrived;

/* With a number: items that take long. With none: two items that wait for
   each other, so that they end only when two workers take part. */
static int meet(const tm_call *c, const tm_arg *a) {
  (void)c;
  if (a[0].f > 0) {
    usleep((useconds_t)a[0].f);
    return 0;
  }
  atomic_fetch_add(&arrived, 1);
  while (atomic_load(&arrived) % 2) sched_yield();
  return 0;
}

/* Items that are known to be long are worth waking sleepers for: so the
   second run cannot but meet, whether the others sleep or spin. */
static void test_meeting(tm__pool *pool) {
  static const tm_kernel entry = {"meet", meet, TM_KIND_ITEM, "f64 us",
                                  NULL,   0,    NULL,         NULL};
  tm__kernel *k = kernel(&entry);
  for (int i = 0; i < 40; i++) {
    tm_arg us = {.f = 200}, none = {.f = 0};
    run(NULL, k, &us, 0, 1, 0, NULL);
    atomic_store(&arrived, 0);
    run(pool, k, &none, 0, 2, i % 2, NULL);
    CHECK(atomic_load(&arrived) == 2);
  }
}

/* ---- reductions ---- */

static double value(int64_t i) {
  return 1.0 / (double)(i + 1) * (i % 3 ? 1 : -1);
}

static int sum(const tm_call *c, const tm_arg *a) {
  (void)a;
  for (int64_t i = c->first; i < c->last; i++) *c->acc.f64 += value(i);
  return 0;
}

static int extremes(const tm_call *c, const tm_arg *a) {
  (void)a;
  for (int64_t i = c->first; i < c->last; i++) {
    int64_t x = i * 7919 % 10007;
    if (x > *c->acc.i64) *c->acc.i64 = x;
  }
  return 0;
}

/* Counts blocks, and remembers the last item: combined in order or not. */
typedef struct trail {
  int64_t items, ordered, first, last;
} trail;

static void trail_init(void *acc, const tm_arg *a) {
  (void)a;
  *(trail *)acc = (trail){.ordered = 1, .first = -1, .last = -1};
}

static int trail_run(const tm_call *c, const tm_arg *a) {
  (void)a;
  trail *t = c->acc.p;
  if (t->first < 0) t->first = c->first;
  if (t->last >= 0 && t->last != c->first) t->ordered = 0;
  t->items += c->last - c->first;
  t->last = c->last;
  return 0;
}

static void trail_combine(void *into, const void *from, const tm_arg *a) {
  (void)a;
  trail *t = into;
  const trail *u = from;
  if (t->last != u->first) t->ordered = 0;
  t->ordered = t->ordered && u->ordered;
  t->items += u->items;
  t->last = u->last;
}

static const tm_kernel reductions[] = {
    {"sum", sum, TM_KIND_RANGE, "", "sum f64", 0, NULL, NULL},
    {"extremes", extremes, TM_KIND_RANGE, "", "max i64", 0, NULL, NULL},
    {"trail", trail_run, TM_KIND_ITEM, "", "i64[4]", 0, trail_init,
     trail_combine}};

/* The same bits as the caller alone gets, for any chunk. */
static void test_reductions(tm__pool *pool) {
  static const int64_t sizes[] = {1, 2, 255, 256, 257, 5000, 100003};
  static const int64_t chunks[] = {0, 1, 1000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t n = sizes[i], most, alone_most;
    double alone, x;
    trail t;
    run(NULL, kernel(&reductions[0]), NULL, 0, n, 0, &alone);
    run(NULL, kernel(&reductions[1]), NULL, 0, n, 0, &alone_most);
    for (int k = 0; k < 3; k++) {
      run(pool, kernel(&reductions[0]), NULL, 0, n, chunks[k], &x);
      CHECK(memcmp(&x, &alone, sizeof x) == 0);
      run(pool, kernel(&reductions[1]), NULL, 0, n, chunks[k], &most);
      CHECK(most == alone_most);
      run(pool, kernel(&reductions[2]), NULL, 0, n, chunks[k], &t);
      CHECK(t.items == n && t.ordered && t.last == n);
    }
  }
}

static void test_empty_reduction(tm__pool *pool) {
  double x = 1;
  int64_t most = 0;
  trail t;
  run(pool, kernel(&reductions[0]), NULL, 0, 0, 0, &x);
  run(pool, kernel(&reductions[1]), NULL, 0, 0, 0, &most);
  run(pool, kernel(&reductions[2]), NULL, 0, 0, 0, &t);
  CHECK(x == 0 && most == INT64_MIN && t.first == -1);
}

/* ---- failures ---- */

static int fail_at(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    if (i == a[0].i || i == a[1].i || i == N - 1)
      return c->fail(c, i, "item %d is bad", (int)i);
    counts[i] = 1;
  }
  return 0;
}

static int answers(const tm_call *c, const tm_arg *a) {
  (void)a;
  return c->first == 3 ? 42 : 0;
}

static bool all_below(int64_t item) {
  for (int64_t i = 0; i < item; i++)
    if (!counts[i]) return false;
  return true;
}

static void test_failures(tm__pool *pool) {
  static const tm_kernel entries[] = {
      {"fail_at", fail_at, TM_KIND_RANGE, "i64 i, i64 j", NULL, 0, NULL, NULL},
      {"answers", answers, TM_KIND_ITEM, "", NULL, 0, NULL, NULL}};
  tm__kernel *k = kernel(&entries[0]);
  for (int64_t chunk = 0; chunk < 100; chunk += 9) {
    tm_arg at[] = {{.i = 2000 - chunk}, {.i = 777}};
    memset(counts, 0, sizeof counts);
    outcome out = run(pool, k, at, 0, N, chunk, NULL);
    CHECK(out.fail_at == 777 && strcmp(out.failure, "item 777 is bad") == 0);
    CHECK(all_below(777) && !counts[777]);
  }
  outcome out = run(pool, kernel(&entries[1]), NULL, 0, 9, 2, NULL);
  CHECK(out.fail_at == 3 && strstr(out.failure, "answered 42"));
}

/* ---- stops ---- */

static _Atomic uint32_t flag;

/* Runs until it is told that it is cancelled. */
static int endless(const tm_call *c, const tm_arg *a) {
  (void)a;
  atomic_store(&flag, 1);
  while (!c->cancelled(c)) sched_yield();
  return 0;
}

static bool poll_flag(void *argument) {
  tm__call *c = argument;
  if (!atomic_load(&flag)) return false;
  tm__call_stop(c, TM__FAIL_INTERRUPTED);
  return true;
}

static void test_stops(tm__pool *pool) {
  static const tm_kernel entry = {"endless", endless, TM_KIND_ITEM, "",
                                  NULL,      0,       NULL,         NULL};
  tm__call c;
  for (int watched = 0; watched < 3; watched++) {
    _Atomic uint32_t why = watched == 1 ? TM__FAIL_CANCELLED : 0;
    tm__region_options o = {.chunk = 1};
    atomic_store(&flag, 0);
    tm__call_init(&c, kernel(&entry), &rt->mem, NULL, 0, 1000, NULL);
    if (watched == 0) {
      o.poll = poll_flag;
      o.poll_argument = &c;
    } else if (watched == 1) {
      c.watch = &why;
    } else {
      c.deadline = tm__now() + 1000000;
    }
    tm__region_run(pool, &c, &o);
    CHECK(tm__call_stopped(&c) == (watched == 0   ? TM__FAIL_INTERRUPTED
                                   : watched == 1 ? TM__FAIL_CANCELLED
                                                  : TM__FAIL_TIMEOUT));
    CHECK(atomic_load(&flag) == (watched != 1));
    tm__call_term(&c);
  }
}

/* ---- scratch ---- */

/* Scratch is this worker's alone, aligned, and as large as was asked. */
static int scratched(const tm_call *c, const tm_arg *a) {
  int64_t *mine = c->scratch;
  if ((uintptr_t)mine % 64 || c->scratch_size != 1000) return 1;
  for (int i = 0; i < 125; i++) mine[i] = c->first;
  sched_yield();
  for (int i = 0; i < 125; i++)
    if (mine[i] != c->first) return 2;
  a[0].u8[c->first] = 1;
  return 0;
}

static void test_scratch(tm__pool *pool) {
  static const tm_kernel entry = {
      "scratched", scratched, TM_KIND_ITEM, "u8[] x", NULL, 1000, NULL, NULL};
  tm_arg a = {.u8 = counts, .n = N};
  memset(counts, 0, sizeof counts);
  CHECK(run(pool, kernel(&entry), &a, 0, N, 1, NULL).fail_at == INT64_MAX);
  CHECK(all_are(0, N, 1));
}

/* Without memory for scratch the first item fails; without memory for a
   reduction there is no call. */
static void test_no_memory(tm__pool *pool) {
  check_heap heap = {.fail_at = 1};
  tm__mem mem = {.fn = check_alloc, .user = &heap};
  tm__region_options o = {.chunk = 1};
  tm__call c;
  tm_error e;
  tm__kernel *k = tm__kernels_find(&rt->kernels, NULL, "scratched");
  tm_arg a = {.u8 = counts, .n = N};
  CHECK(tm__call_init(&c, k, &mem, &a, 5, 9, NULL) == TM_OK);
  tm__region_run(pool, &c, &o);
  CHECK(c.fail_at == 5 && strstr(c.failure, "1000 bytes of scratch"));
  tm__call_term(&c);
  heap.requests = 0;
  CHECK(tm__call_init(&c, kernel(&reductions[0]), &mem, NULL, 0, 9, &e) ==
        TM_ENOMEM);
  CHECK(heap.live == 0);
}

/* ---- callers that compete ---- */

enum { CALLERS = 3, ROUNDS = 300 };

static void *compete(void *argument) {
  tm__pool *pool = argument;
  double x, alone;
  tm__kernel *k = kernel(&reductions[0]);
  run(NULL, k, NULL, 0, 1000, 0, &alone);
  for (int i = 0; i < ROUNDS; i++) {
    run(pool, k, NULL, 0, 1000, 50, &x);
    if (x != alone) return "different";
  }
  return NULL;
}

static void test_competition(tm__pool *pool) {
  pthread_t threads[CALLERS];
  void *answer;
  kernel(&reductions[0]);
  for (int i = 0; i < CALLERS; i++)
    pthread_create(&threads[i], NULL, compete, pool);
  for (int i = 0; i < CALLERS; i++) {
    pthread_join(threads[i], &answer);
    CHECK(answer == NULL);
  }
}

/* ---- registering ---- */

static bool refused(tm_kernel k, const char *why) {
  tm_error e = {.text = ""};
  return tm_kernel_register(rt, &k, &e) == TM_EINVAL && strstr(e.text, why);
}

static void test_register(void) {
  tm_kernel k = {
      .name = "x", .run = sum, .kind = TM_KIND_RANGE, .signature = "f64 a"};
  CHECK(tm_kernel_register(rt, &k, NULL) == TM_OK);
  CHECK(refused(k, "one of this name"));
  k.name = "y";
  k.signature = "f64";
  CHECK(refused(k, "kernel 'y': signature"));
  k.signature = NULL;
  k.reduce = "sum f32";
  CHECK(refused(k, "reduce must be like"));
  k.reduce = "f64[3]";
  CHECK(refused(k, "function to combine"));
  k.reduce = "min i64[2] x";
  CHECK(refused(k, "reduce must be like"));
  k.reduce = NULL;
  k.kind = 3;
  CHECK(refused(k, "neither range nor item"));
  k.kind = TM_KIND_ITEM;
  k.scratch = SIZE_MAX - 8;
  CHECK(refused(k, "scratch is more than any machine has"));
  k.scratch = 0;
  CHECK(tm_kernel_register(rt, &k, NULL) == TM_OK);
}

int main(void) {
  tm_config c;
  tm_config_init(&c);
  if (CHECK(tm_runtime_new(&rt, &c, NULL) == TM_OK)) {
    test_register();
    for (int workers = 1; workers <= 8; workers += workers) {
      tm__pool *pool = start(workers);
      test_once(pool);
      if (workers > 1) test_meeting(pool);
      test_reductions(pool);
      test_empty_reduction(pool);
      test_failures(pool);
      test_stops(pool);
      test_scratch(pool);
      test_no_memory(pool);
      test_competition(pool);
      stop(pool);
    }
    tm_runtime_free(rt);
  }
  return check_done();
}
