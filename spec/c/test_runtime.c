/*
 * test_runtime.c: runtimes made and freed, what they refuse, their shared
 * pool, and the interrupt
 */
#include <signal.h>

#include "toy.h"

static void test_new_and_free_many(void) {
  check_heap heap = {0};
  tm_config c;
  tm_config_init(&c);
  c.alloc = check_alloc;
  c.alloc_user = &heap;
  for (int i = 0; i < 1000; i++) {
    tm_runtime *rt = NULL;
    tm_error e = {0};
    if (!CHECK(tm_runtime_new(&rt, &c, &e) == TM_OK && rt)) return;
    tm_runtime_free(rt);
  }
  CHECK(heap.live == 0 && heap.requests >= 1000);
}

static void test_defaults(void) {
  tm_runtime *rt = NULL;
  CHECK(tm_runtime_new(&rt, NULL, NULL) == TM_OK && rt);
  CHECK(rt->threads == rt->cpus.usable && rt->threads >= 1);
  tm_runtime_free(rt);
  tm_runtime_free(NULL);
  CHECK(strcmp(tm_version(), TM_VERSION) == 0);
}

static void refuses(tm_config c, const char *part) {
  tm_error e = {0};
  tm_runtime *rt = (tm_runtime *)&e;
  CHECK(tm_runtime_new(&rt, &c, &e) == TM_EINVAL);
  CHECK(!rt && e.code == TM_EINVAL && strstr(e.text, part));
  CHECK(tm_runtime_new(&rt, &c, NULL) == TM_EINVAL); /* e may be NULL */
}

static void test_invalid_config(void) {
  tm_config c;
  tm_config_init(&c);
  c.threads = -1;
  refuses(c, "threads must be 0 or more (got -1)");
  tm_config_init(&c);
  c.flags = 1u << 20;
  refuses(c, "unknown flags 0x100000");
}

static int share(tm_runtime *rt, tm__pool **pool) {
  tm__pool_options o = {
      .kind = &tm__worker_thread, .guest = &toy_guest, .workers = 2};
  return tm__runtime_shared(rt, TM__SHARED_THREAD, &o, pool, NULL);
}

static bool squares(tm__pool *pool) {
  toy t = {.run = toy_square};
  tm__job *job = toy_submit(pool, &t, 100, NULL);
  bool well = job && toy_wait(job) && toy_results(job).ok == 100;
  tm__job_unref(job);
  return well;
}

static void *use_runtime(void *argument) {
  (void)argument;
  for (int i = 0; i < 20; i++) {
    tm__pool *pool = NULL;
    tm_runtime *rt = toy_runtime(NULL);
    if (!CHECK(rt && share(rt, &pool) == TM_OK)) return NULL;
    CHECK(squares(pool));
    tm__pool_unref(pool);
    tm_runtime_free(rt); /* with its shared pool open */
  }
  return NULL;
}

static void test_several_at_once(void) {
  pthread_t threads[3];
  for (int i = 0; i < 3; i++)
    pthread_create(&threads[i], NULL, use_runtime, NULL);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

static void test_shared_pool(void) {
  check_heap heap = {0};
  tm__pool *a = NULL, *b = NULL;
  tm_runtime *rt = toy_runtime(&heap);
  CHECK(share(rt, &a) == TM_OK && share(rt, &b) == TM_OK && a == b);
  tm__pool_unref(b);
  toy_end(a);
  CHECK(share(rt, &b) == TM_OK && squares(b)); /* a new one */
  tm__pool_unref(b);
  tm_runtime_free(rt);
  CHECK(heap.live == 0);
}

/* Shared pools that were closed and joined do not pile up. */
static void test_shared_pool_many_times(void) {
  check_heap heap = {0};
  long live = 0;
  tm_runtime *rt = toy_runtime(&heap);
  for (int i = 0; i < 50; i++) {
    tm__pool *pool = NULL;
    CHECK(share(rt, &pool) == TM_OK && squares(pool));
    toy_end(pool);
    if (i == 5) live = heap.live;
  }
  CHECK(heap.live == live);
  tm_runtime_free(rt);
  CHECK(heap.live == 0);
}

/* A state that outlives its host's runtime gets no pool that nobody ends. */
static void test_no_shared_pool_after_free(void) {
  check_heap heap = {0};
  tm__pool *pool = NULL;
  tm_runtime *rt = toy_runtime(&heap);
  tm__runtime_ref(rt);
  tm_runtime_free(rt);
  CHECK(share(rt, &pool) == TM_ECLOSED && !pool);
  tm__runtime_unref(rt);
  CHECK(heap.live == 0);
}

static void test_interrupt(void) {
  tm_runtime *rt = toy_runtime(NULL);
  CHECK(tm_interrupt(rt, 1) == 0);
  CHECK(tm_interrupt(rt, 1) == 1); /* the first was not seen */
  CHECK(atomic_exchange(&rt->interrupted, 0) == 1);
  CHECK(tm_interrupt(rt, 1) == 0);
  tm_runtime_free(rt);
}

/* Without TM_USE_SIGNALS the host's handler stays; with it, it is ours. */
static void test_signals_are_asked_for(void) {
  struct sigaction before = {.sa_handler = SIG_IGN}, now;
  tm_config c;
  tm_runtime *rt;
  tm_config_init(&c);
  sigaction(SIGURG, &before, NULL);
  CHECK(tm_runtime_new(&rt, &c, NULL) == TM_OK);
  sigaction(SIGURG, NULL, &now);
  CHECK(now.sa_handler == SIG_IGN);
  tm_runtime_free(rt);
  c.flags = TM_USE_SIGNALS;
  CHECK(tm_runtime_new(&rt, &c, NULL) == TM_OK);
  sigaction(SIGURG, NULL, &now);
  CHECK(now.sa_handler != SIG_IGN && now.sa_handler != SIG_DFL);
  tm_runtime_free(rt);
}

static void test_uids_differ(void) {
  tm_runtime *rt = toy_runtime(NULL);
  uint64_t a = tm__runtime_uid(rt), b = tm__runtime_uid(rt);
  CHECK(a && b && a != b);
  tm_runtime_free(rt);
}

int main(void) {
  test_signals_are_asked_for();
  test_new_and_free_many();
  test_defaults();
  test_invalid_config();
  test_several_at_once();
  test_shared_pool();
  test_shared_pool_many_times();
  test_no_shared_pool_after_free();
  test_interrupt();
  test_uids_differ();
  return check_done();
}
