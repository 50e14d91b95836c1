/*
 * test_death.c: worker processes that are killed where it matters
 *
 * A toy in a forked worker brings its seat and its job to what they are in
 * the middle of something, and ends its process.
 */
#include <signal.h>

#include "run/process.h"
#include "toy.h"

static tm_runtime *rt;

static tm__pool *new_pool(int workers) {
  tm__pool *pool = NULL;
  tm__pool_options o = {
      .kind = &tm__worker_fork, .guest = &toy_guest, .workers = workers};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
  return pool;
}

static void end_pool(tm__pool *pool) {
  tm__pool_terminate(pool);
  CHECK(tm__pool_join(pool, NULL, NULL) == TM_OK);
  tm__pool_unref(pool);
}

/* It took the end of the job on itself, and is no more. */
static int die_finishing(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  (void)t;
  (void)i;
  (void)value;
  tm__hub_finishing(p->job->hub, p->job);
  atomic_store(&p->job->ended, 1);
  return raise(SIGKILL);
}

/* The monitor looks at time limits no more than there are some. */
static void test_end_of_a_limit(void) {
  static toy t = {.run = die_finishing};
  const tm__spec spec = {.timeout = (uint64_t)60 * 1000000000u};
  tm__pool *pool = new_pool(1);
  tm__job *job = toy_submit(pool, &t, 1, &spec);
  CHECK(job && toy_wait(job));
  tm__job_unref(job);
  CHECK(atomic_load(&pool->bell->timed) == 0);
  end_pool(pool);
}

int main(void) {
  rt = toy_runtime(NULL);
  if (!CHECK_THREAD_SANITIZED) test_end_of_a_limit();
  tm_runtime_free(rt);
  return check_done();
}
