/*
 * test_pool_faults.c: time limits, workers that do not come back, and no
 * memory
 */
#include "toy.h"

static tm_runtime *rt;

#define MS 1000000u

static tm__pool *new_pool(int workers, toy_log *log) {
  tm__pool *pool = NULL;
  CHECK(toy_pool(&pool, rt, workers, log) == TM_OK);
  return pool;
}

static toy_outcome finish(tm__job *job) {
  CHECK(job && toy_wait(job));
  toy_outcome o = toy_results(job);
  tm__job_unref(job);
  return o;
}

/* ---- time limits ---- */

/* Items 3 and 5 take for ever. */
static int some_forever(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  *value = i * i;
  return i == 3 || i == 5 ? toy_forever(t, p, i, value) : TOY_OK;
}

static void test_late_items_fail(void) {
  toy t = {.run = some_forever};
  tm__spec spec = {.timeout = 5 * MS, .collect = true};
  tm__pool *pool = new_pool(2, NULL);
  toy_outcome o = finish(toy_submit(pool, &t, 20, &spec));
  CHECK(o.failed == 2 && o.ok == 18 && o.first_failed == 3);
  CHECK(o.kind == TM__FAIL_TIMEOUT && t.begun == 2);
  CHECK(pool->bell->timed == 0);
  toy_end(pool);
}

static void test_late_items_are_tried_again(void) {
  toy t = {.run = some_forever};
  tm__spec spec = {.timeout = 5 * MS, .retries = 2, .collect = true};
  tm__pool *pool = new_pool(2, NULL);
  toy_outcome o = finish(toy_submit(pool, &t, 6, &spec));
  CHECK(o.failed == 2 && o.kind == TM__FAIL_TIMEOUT && t.begun == 6);
  toy_end(pool);
}

static void test_limit_in_the_caller(void) {
  toy t = {.run = some_forever};
  tm__pool *pool = NULL;
  tm__spec spec = {.timeout = 5 * MS, .collect = true};
  tm__pool_options options = {
      .kind = &tm__worker_inline, .guest = &toy_guest, .workers = 1};
  CHECK(tm__pool_new(&pool, rt, &options, NULL) == TM_OK);
  tm__job *job = toy_submit(pool, &t, 5, &spec);
  pool->workers[0]->state = &t; /* the caller's own */
  tm__pool_help(pool->workers[0], job);
  pool->workers[0]->state = NULL;
  toy_outcome o = finish(job);
  CHECK(o.failed == 1 && o.ok == 4 && o.kind == TM__FAIL_TIMEOUT);
  toy_end(pool);
}

/* A job that is refused, or never submitted, is not watched for ever; and a
   pool that is gone is not looked at. */
static void test_refused_jobs_are_not_watched(void) {
  toy t = {.run = toy_square};
  tm__spec spec = {.timeout = MS};
  for (int i = 0; i < 20; i++) {
    tm__pool *pool = new_pool(1, NULL);
    CHECK(finish(toy_submit(pool, &t, 1, &spec)).ok == 1);
    tm__pool_close(pool);
    tm__pool_join(pool, NULL, NULL);
    CHECK(!toy_submit(pool, &t, 1, &spec));
    CHECK(pool->bell->timed == 0);
    tm__pool_unref(pool);
  }
  CHECK(!rt->monitor.pools);
}

/* ---- stuck ---- */

/* Waits for the last thing that workers do with their log. */
static void until_gone(toy_log *log) {
  while (log->closes < log->opens) usleep(100);
  CHECK(log->forgotten == 1);
}

static void test_stuck_worker_is_replaced(void) {
  toy_log log = {0};
  toy t = {.run = toy_stuck};
  tm__spec spec = {.timeout = 5 * MS, .chunk = 4, .collect = true};
  tm__pool *pool = new_pool(1, &log);
  toy_outcome o = finish(toy_submit(pool, &t, 10, &spec));
  CHECK(o.failed == 1 && o.first_failed == 0 && o.ok == 9 && o.wrong == 0);
  CHECK(o.kind == TM__FAIL_TIMEOUT && log.opens == 2);
  CHECK(strstr(o.text, "did not return from C code"));
  tm__pool_close(pool);
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK); /* not the stuck one */
  CHECK(log.closes == 1);
  atomic_store(&t.release, 1); /* it comes back, to a pool that is closed */
  tm__pool_unref(pool);
  until_gone(&log);
}

static void test_stuck_item_is_tried_again(void) {
  toy t = {.run = toy_stuck};
  tm__spec spec = {.timeout = 5 * MS, .retries = 1};
  toy_log log = {0};
  tm__pool *pool = new_pool(1, &log);
  toy_outcome o = finish(toy_submit(pool, &t, 3, &spec));
  CHECK(o.ok == 3 && o.failed == 0 && t.begun == 2);
  toy_end(pool);
  atomic_store(&t.release, 1);
  until_gone(&log);
}

static void test_terminate_leaves_the_stuck_behind(void) {
  toy_log log = {0};
  toy t = {.run = toy_stuck};
  tm__pool *pool = new_pool(2, &log);
  tm__job *job = toy_submit(pool, &t, 1, NULL);
  toy_until_u64(&t.begun, 1);
  tm__pool_terminate(pool);
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK);
  tm__pool_unref(pool);
  CHECK(tm__job_done(job) && toy_results(job).kind == TM__FAIL_CANCELLED);
  tm__job_unref(job);
  CHECK(log.forgotten == 0); /* the worker has it still, and the pool */
  atomic_store(&t.release, 1);
  until_gone(&log);
}

/* ---- memory ---- */

typedef struct scene {
  check_heap heap;
  tm_runtime *rt;
  int status;
} scene;

static bool refused(scene *s, int status) {
  if (status == TM_OK) return false;
  CHECK(status == TM_ENOMEM);
  s->status = status;
  return true;
}

static void use_job(scene *s, tm__pool *pool, const tm__spec *spec) {
  toy t = {.run = toy_square};
  tm__job *job;
  if (refused(s, toy_job(&job, pool, &t, 40, spec))) return;
  CHECK(tm__pool_submit(pool, job, NULL) == TM_OK);
  CHECK(toy_wait(job) && job->settled == 40);
  toy_outcome o = toy_results(job);
  CHECK(o.wrong == 0 && (o.ok == 40 || job->failed > 0));
  if (o.ok < 40) s->status = TM_ENOMEM;
  tm__job_unref(job);
}

static void use_stream(scene *s, tm__pool *pool) {
  toy t = {.run = toy_square};
  tm__spec spec = {.chunk = 1, .window = 4};
  tm__job *job;
  if (refused(s, toy_job(&job, pool, &t, 0, &spec))) return;
  CHECK(tm__pool_submit(pool, job, NULL) == TM_OK);
  for (uint64_t i = 0; i < 4; i++) tm__job_feed(job, NULL);
  tm__job_close(job);
  CHECK(toy_wait(job) && job->settled == 4);
  for (uint64_t i = 0; i < 4; i++) CHECK(tm__job_results(job, i));
  if (job->failed) s->status = TM_ENOMEM;
  tm__job_unref(job);
}

static void use_pool(scene *s, const tm__worker_kind *kind) {
  tm__spec chunks = {.chunk = 7}, raise = {0}, collect = {.collect = true};
  tm__pool *pool;
  tm__pool_options o = {
      .kind = kind, .guest = &toy_guest, .workers = 2, .max_items = 50};
  if (kind->runs_in_caller) o.workers = 1;
  if (refused(s, tm__pool_new(&pool, s->rt, &o, NULL))) return;
  if (!kind->runs_in_caller) {
    use_job(s, pool, &chunks);
    use_job(s, pool, &raise);
    use_job(s, pool, &collect);
    use_stream(s, pool);
  }
  toy_end(pool);
}

/* Everything once, with the n-th allocation refused; answers whether that
   one came. What failed before works after. */
static bool play(long n) {
  scene s = {.heap.fail_at = n};
  tm_config c;
  tm_config_init(&c);
  c.alloc = check_alloc;
  c.alloc_user = &s.heap;
  c.arena_size = 1 << 22;
  if (!refused(&s, tm_runtime_new(&s.rt, &c, NULL))) {
    use_pool(&s, &tm__worker_thread);
    use_pool(&s, &tm__worker_inline);
    bool failed = s.status != TM_OK;
    s.status = TM_OK;
    s.heap.fail_at = 0;
    if (failed) use_pool(&s, &tm__worker_thread);
    CHECK(s.status == TM_OK);
    tm_runtime_free(s.rt);
  } else {
    CHECK(!s.rt);
  }
  CHECK(s.heap.live == 0);
  return s.heap.requests >= n;
}

static void test_each_allocation_may_fail(void) {
  long n = 1;
  while (play(n)) n++;
  CHECK(n > 40);
}

int main(void) {
  check_heap heap = {0};
  rt = toy_runtime(&heap);
  test_late_items_fail();
  test_late_items_are_tried_again();
  test_limit_in_the_caller();
  test_refused_jobs_are_not_watched();
  test_stuck_worker_is_replaced();
  test_stuck_item_is_tried_again();
  test_terminate_leaves_the_stuck_behind();
  test_each_allocation_may_fail();
  tm_runtime_free(rt);
  return check_done();
}
