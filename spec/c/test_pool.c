/*
 * test_pool.c: pools of threads with a guest in plain C
 */
#include <dirent.h>
#include <sched.h>

#include "toy.h"

static tm_runtime *rt;

static tm__pool *new_pool(int workers, toy_log *log) {
  tm__pool *pool = NULL;
  CHECK(toy_pool(&pool, rt, workers, log) == TM_OK);
  return pool;
}

/* Waits and lets go. */
static toy_outcome finish(tm__job *job) {
  CHECK(job && toy_wait(job));
  toy_outcome o = toy_results(job);
  tm__job_unref(job);
  return o;
}

/* ---- plain work ---- */

static void test_results_in_order(void) {
  const uint64_t chunks[] = {0, 1, 7, 5000};
  tm__pool *pool = new_pool(3, NULL);
  for (int i = 0; i < 4; i++) {
    toy t = {.run = toy_square};
    toy_outcome o =
        finish(toy_submit(pool, &t, 3001, &(tm__spec){.chunk = chunks[i]}));
    CHECK(o.ok == 3001 && o.wrong == 0 && t.calls == 3001);
  }
  toy_end(pool);
}

enum { SUBMITTERS = 4, JOBS = 100 };

static void *submit_many(void *pool) {
  for (uint64_t i = 0; i < JOBS; i++) {
    toy t = {.run = toy_square};
    toy_outcome o = finish(toy_submit(pool, &t, i % 17, NULL));
    CHECK(o.ok == i % 17 && o.wrong == 0 && t.calls == i % 17);
  }
  return NULL;
}

static void test_several_submitters(void) {
  pthread_t threads[SUBMITTERS];
  tm__pool *pool = new_pool(2, NULL);
  for (int i = 0; i < SUBMITTERS; i++)
    pthread_create(&threads[i], NULL, submit_many, pool);
  for (int i = 0; i < SUBMITTERS; i++) pthread_join(threads[i], NULL);
  toy_end(pool);
}

/* Each job waits for the other: a worker that is asleep must not be counted
   on by two submitters. */
static int meet(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  toy *hall = t->more;
  (void)p;
  *value = i * i;
  atomic_fetch_add(&hall->begun, 1);
  while (atomic_load(&hall->begun) < hall->entered) sched_yield();
  return TOY_OK;
}

static void test_as_many_jobs_run_as_workers(void) {
  enum { WORKERS = 3 };
  tm__pool *pool = new_pool(WORKERS, NULL);
  for (int round = 0; round < 300; round++) {
    toy hall = {.entered = WORKERS};
    toy t = {.run = meet, .more = &hall};
    tm__job *jobs[WORKERS];
    for (int i = 0; i < WORKERS; i++) jobs[i] = toy_submit(pool, &t, 1, NULL);
    for (int i = 0; i < WORKERS; i++) CHECK(finish(jobs[i]).ok == 1);
  }
  toy_end(pool);
}

static void test_idle_workers_sleep(void) {
  toy t = {.run = toy_square};
  tm__pool *pool = new_pool(3, NULL);
  CHECK(finish(toy_submit(pool, &t, 10, NULL)).ok == 10);
  while (atomic_load(&pool->bell->sleepers) != 3) usleep(100);
  CHECK(pool->bell->spinners == 0 && !pool->head);
  CHECK(finish(toy_submit(pool, &t, 10, NULL)).ok == 10); /* and wake */
  toy_end(pool);
}

/* Sleeping workers let go of a job that ends. */
static void test_finished_stream_is_forgotten(void) {
  for (int workers = 1; workers < 3; workers++) {
    toy_log log = {0};
    toy t = {.run = toy_square};
    tm__pool *pool = new_pool(workers, &log);
    tm__spec spec = {.chunk = 1, .window = 8};
    tm__job *job = toy_submit(pool, &t, 0, &spec);
    for (int i = 0; i < 8; i++) tm__job_feed(job, NULL);
    while (job->settled < 8) sched_yield();
    while (pool->bell->sleepers != (uint32_t)workers) sched_yield();
    tm__job_close(job);
    CHECK(tm__job_done(job));
    tm__job_unref(job);
    toy_until_u64(&log.forgotten, 1); /* freed, though nobody calls the pool */
    CHECK(t.calls == 8);
    toy_end(pool);
  }
}

/* ---- nesting ---- */

static int nested(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  toy inner = {.run = toy_square};
  if (t->more) inner = *(toy *)t->more;
  tm__job *job = toy_submit(p->worker->pool, &inner, 5, NULL);
  *value = i * i;
  toy_outcome o = finish(job);
  atomic_fetch_add(&t->calls, inner.calls);
  return o.ok == 5 ? TOY_OK : TM__FAIL_TASK;
}

static void test_nested_jobs(void) {
  for (int workers = 1; workers < 4; workers++) {
    tm__pool *pool = new_pool(workers, NULL);
    toy leaf = {.run = nested};
    toy t = {.run = nested, .more = &leaf};
    CHECK(finish(toy_submit(pool, &t, 20, NULL)).ok == 20);
    CHECK(t.calls == 20 * 5 * 5);
    toy_end(pool);
  }
}

static int close_inside(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  tm__pool_close(p->worker->pool);
  return nested(t, p, i, value);
}

/* A worker may still submit to its own closed pool. */
static void test_nested_in_a_closed_pool(void) {
  toy t = {.run = close_inside}, late = {.run = toy_square};
  tm__pool *pool = new_pool(2, NULL);
  CHECK(finish(toy_submit(pool, &t, 1, NULL)).ok == 1 && t.calls == 5);
  CHECK(!toy_submit(pool, &late, 1, NULL) && late.calls == 0);
  toy_end(pool);
}

static tm__pool *inline_pool(void) {
  tm__pool *pool = NULL;
  tm__pool_options o = {
      .kind = &tm__worker_inline, .guest = &toy_guest, .workers = 1};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
  return pool;
}

/* Runs a job of a pool whose worker is the caller; its own state is none. */
static toy_outcome run_inline(tm__pool *pool, toy *t) {
  tm__job *job = toy_submit(pool, t, 2, NULL);
  tm__pool_help(pool->workers[0], job);
  return finish(job);
}

/* Through pools that run in the caller, back to the pool of the worker. */
static int detour(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  tm__pool **route = t->more;
  toy inner = {.run = route[1] ? detour : toy_square, .more = route + 1};
  (void)p;
  *value = i * i;
  if (!route[0]->kind->runs_in_caller)
    return finish(toy_submit(route[0], &inner, 2, NULL)).ok == 2 ? 0 : 1;
  return run_inline(route[0], &inner).ok == 2 ? 0 : 1;
}

static void test_pools_within_pools(void) {
  tm__pool *a = inline_pool(), *b = inline_pool(), *pool = new_pool(1, NULL);
  tm__pool *route[] = {a, b, a, pool, NULL};
  toy t = {.run = detour, .more = route};
  CHECK(finish(toy_submit(pool, &t, 1, NULL)).ok == 1);
  toy_end(a);
  toy_end(b);
  toy_end(pool);
}

/* ---- ends ---- */

static void test_close_runs_what_was_submitted(void) {
  for (int workers = 1; workers < 5; workers++) {
    toy t = {.run = toy_square};
    tm__job *jobs[50];
    tm__pool *pool = new_pool(workers, NULL);
    for (int i = 0; i < 50; i++) jobs[i] = toy_submit(pool, &t, 3, NULL);
    toy_end(pool);
    for (int i = 0; i < 50; i++) {
      CHECK(tm__job_done(jobs[i]));
      CHECK(finish(jobs[i]).ok == 3);
    }
    CHECK(t.calls == 150);
  }
}

/* Workers sleep while a stream of a closed pool is open, and end with it. */
static void test_close_waits_for_streams(void) {
  toy t = {.run = toy_square};
  tm__spec spec = {.chunk = 1, .window = 4};
  tm__pool *pool = new_pool(3, NULL);
  tm__job *job = toy_submit(pool, &t, 0, &spec);
  tm__pool_close(pool);
  while (pool->bell->sleepers != 3) usleep(100);
  tm__job_feed(job, NULL);
  while (job->settled < 1) usleep(100);
  tm__job_close(job);
  CHECK(tm__job_done(job) && t.calls == 1);
  toy_end(pool);
  tm__job_unref(job);
}

static void test_terminate_stops_all(void) {
  toy busy = {.run = toy_forever}, waits = {.run = toy_square};
  tm__pool *pool = new_pool(2, NULL);
  tm__job *a = toy_submit(pool, &busy, 10, NULL);
  tm__job *b = toy_submit(pool, &waits, 10, NULL);
  toy_until_u64(&busy.begun, 2);
  tm__pool_terminate(pool);
  CHECK(!toy_submit(pool, &waits, 1, NULL));
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK);
  CHECK(tm__job_done(a) && a->cancelled == TM__FAIL_CANCELLED);
  CHECK(tm__job_done(b) && b->cancelled && waits.calls == 0);
  CHECK(busy.begun == 2);
  tm__job_unref(a);
  tm__job_unref(b);
  tm__pool_unref(pool);
}

/* Whatever the workers are about when it comes. */
static void test_terminate_at_any_moment(void) {
  for (int round = 0; round < 200; round++) {
    toy t = {.run = toy_square};
    tm__job *jobs[5];
    tm__pool *pool = new_pool(2, NULL);
    for (int i = 0; i < 5; i++) jobs[i] = toy_submit(pool, &t, 40, NULL);
    while (t.calls < (uint64_t)round && t.calls < 200) sched_yield();
    tm__pool_terminate(pool);
    tm__pool_join(pool, NULL, NULL);
    for (int i = 0; i < 5; i++) {
      CHECK(tm__job_done(jobs[i]) && jobs[i]->settled == 40);
      tm__job_unref(jobs[i]);
    }
    tm__pool_unref(pool);
  }
}

static bool give_up(void *count) { return ++*(int *)count > 1; }

static void test_join_can_be_given_up(void) {
  int asked = 0;
  toy t = {.run = toy_forever};
  tm__pool *pool = new_pool(1, NULL);
  tm__job *job = toy_submit(pool, &t, 1, NULL);
  tm__pool_close(pool);
  CHECK(tm__pool_join(pool, give_up, &asked) == TM_ECANCELLED && asked == 2);
  toy_until_u64(&t.begun, 1);
  tm__pool_cancel(job, TM__FAIL_CANCELLED);
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK && tm__job_done(job));
  tm__job_unref(job);
  tm__pool_unref(pool);
}

static void *join_pool(void *pool) {
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK);
  return NULL;
}

static void test_two_may_join(void) {
  for (int round = 0; round < 50; round++) {
    pthread_t other;
    toy t = {.run = toy_square};
    tm__pool *pool = new_pool(3, NULL);
    tm__job *job = toy_submit(pool, &t, 100, NULL);
    tm__pool_close(pool);
    pthread_create(&other, NULL, join_pool, pool);
    join_pool(pool);
    pthread_join(other, NULL);
    CHECK(finish(job).ok == 100);
    tm__pool_unref(pool);
  }
}

/* ---- cancelling ---- */

static void test_cancel_interrupts(void) {
  toy t = {.run = toy_forever}, after = {.run = toy_square};
  tm__pool *pool = new_pool(2, NULL);
  for (uint64_t round = 0; round < 30; round++) {
    tm__job *job = toy_submit(pool, &t, 1, NULL);
    toy_until_u64(&t.begun, round + 1);
    tm__pool_cancel(job, TM__FAIL_CANCELLED);
    toy_outcome o = finish(job);
    CHECK(o.failed == 1 && o.kind == TM__FAIL_CANCELLED);
  }
  CHECK(finish(toy_submit(pool, &after, 100, NULL)).ok == 100);
  toy_end(pool);
}

/* Its inner job runs for ever, on the other worker: to cancel the outer one
   must wake it. */
static int wait_for_ever(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  int kind = TOY_OK;
  tm__job *job = toy_submit(p->worker->pool, t->more, 1, NULL);
  (void)i;
  (void)value;
  toy_until_u64(&((toy *)t->more)->begun, 1);
  atomic_fetch_add(&t->begun, 1);
  CHECK(!toy_wait(job) && toy_unwinds(p, &kind));
  tm__pool_cancel(job, TM__FAIL_CANCELLED);
  tm__job_unref(job);
  return kind;
}

static void test_cancel_wakes_who_waits(void) {
  toy_log log = {0};
  tm__pool *pool = new_pool(2, &log);
  for (uint64_t round = 0; round < 20; round++) {
    toy inner = {.run = toy_forever};
    toy t = {.run = wait_for_ever, .more = &inner};
    tm__job *job = toy_submit(pool, &t, 1, NULL);
    toy_until_u64(&t.begun, 1);
    tm__pool_cancel(job, TM__FAIL_CANCELLED);
    CHECK(finish(job).kind == TM__FAIL_CANCELLED);
    toy_until_u64(&log.forgotten, 2 * round + 1); /* the inner one too */
  }
  toy_end(pool);
}

/* ---- opening, renewing ---- */

static void test_state_is_renewed(void) {
  toy_log log = {0};
  toy t = {.run = toy_square};
  tm__pool *pool = NULL;
  tm__pool_options o = {.kind = &tm__worker_thread,
                        .guest = &toy_guest,
                        .guest_user = &log,
                        .workers = 1,
                        .max_items = 10};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
  CHECK(finish(toy_submit(pool, &t, 35, NULL)).ok == 35);
  CHECK(finish(toy_submit(pool, &t, 5, NULL)).ok == 5);
  toy_end(pool);
  CHECK(log.opens == 5 && log.closes == 5); /* the last with no item */
}

static void test_state_is_renewed_by_memory(void) {
  toy_log log = {.memory = 100};
  toy t = {.run = toy_square};
  tm__pool *pool = NULL;
  tm__pool_options o = {.kind = &tm__worker_thread,
                        .guest = &toy_guest,
                        .guest_user = &log,
                        .workers = 1,
                        .max_memory = 99};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
  CHECK(finish(toy_submit(pool, &t, 6, &(tm__spec){.chunk = 2})).ok == 6);
  toy_end(pool);
  CHECK(log.opens == 4 && log.closes == 4);
}

static void test_broken_pool_fails_items(void) {
  toy_log log = {.refuse = 2};
  toy t = {.run = toy_square};
  tm__pool *pool = new_pool(2, &log);
  toy_outcome o = finish(toy_submit(pool, &t, 5, &(tm__spec){.collect = true}));
  CHECK(o.failed == 5 && o.kind == TM__FAIL_TASK && t.calls == 0);
  CHECK(strcmp(o.text, "the toy does not open") == 0);
  toy_end(pool);
  CHECK(log.opens == 0 && log.closes == 0);
}

/* ---- many ---- */

static int count_entries(const char *folder) {
  int n = 0;
  DIR *d = opendir(folder);
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

/* A joined thread is a moment longer in its folder. */
static bool becomes(const char *folder, int count) {
  uint64_t end = tm__now() + 20000000000u;
  while (count_entries(folder) != count && tm__now() < end) sched_yield();
  return count_entries(folder) == count;
}

static void test_thousand_pools(void) {
  int files = count_entries("/proc/self/fd");
  int threads = count_entries("/proc/self/task");
  for (int i = 0; i < (CHECK_SANITIZED ? 200 : 1000); i++) {
    toy t = {.run = toy_square};
    tm__pool *pool = new_pool(1 + i % 3, NULL);
    if (i % 2) CHECK(finish(toy_submit(pool, &t, 3, NULL)).ok == 3);
    if (i % 5 == 0) tm__pool_terminate(pool);
    toy_end(pool);
  }
  CHECK(count_entries("/proc/self/fd") == files);
  CHECK(becomes("/proc/self/task", threads));
}

int main(void) {
  check_heap heap = {0};
  rt = toy_runtime(&heap);
  test_results_in_order();
  test_several_submitters();
  test_as_many_jobs_run_as_workers();
  test_idle_workers_sleep();
  test_finished_stream_is_forgotten();
  test_nested_jobs();
  test_nested_in_a_closed_pool();
  test_pools_within_pools();
  test_close_runs_what_was_submitted();
  test_close_waits_for_streams();
  test_terminate_stops_all();
  test_terminate_at_any_moment();
  test_join_can_be_given_up();
  test_two_may_join();
  test_cancel_interrupts();
  test_cancel_wakes_who_waits();
  test_state_is_renewed();
  test_state_is_renewed_by_memory();
  test_broken_pool_fails_items();
  test_thousand_pools();
  tm_runtime_free(rt);
  CHECK(heap.live == 0);
  return check_done();
}
