/*
 * test_wake.c: a job is not forgotten by workers who see a region first
 *
 * A worker that spins sees a job and a region that came at once. The job is
 * what the region's items wait for.
 */
#include "run/region.h"
#include "toy.h"

enum { TIMES = 400, WORKERS = 2, CHUNKS_OF = 1 };

static tm_runtime *rt;
static _Atomic int ran, forgotten;

static int say(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  (void)t;
  (void)p;
  *value = i;
  atomic_store(&ran, 1);
  return TOY_OK;
}

static int await_job(const tm_call *c, const tm_arg *args) {
  uint64_t end = tm__now() + (uint64_t)5 * 1000000000u;
  (void)c;
  (void)args;
  while (!atomic_load(&ran) && tm__now() < end) sched_yield();
  if (!atomic_load(&ran)) atomic_fetch_add(&forgotten, 1);
  return 0;
}

static const tm_kernel awaits = TM_ITEM(await_job, "");

/* One worker spins after a job that it did, the other has gone to sleep. */
static void await_spinner(tm__pool *pool, toy *t) {
  tm__bell *bell = pool->bell;
  tm__job *job = toy_submit(pool, t, 1, NULL);
  CHECK(job && toy_wait(job));
  tm__job_unref(job);
  while (atomic_load(&bell->spinners) != 1 || atomic_load(&bell->sleepers) != 1)
    if (atomic_load(&bell->sleepers) == WORKERS) return; /* missed it */
}

static void meet_both(tm__pool *pool, tm__kernel *k) {
  tm__call c;
  toy t = {.run = say};
  const tm__region_options options = {.chunk = CHUNKS_OF};
  await_spinner(pool, &t);
  CHECK(tm__call_init(&c, k, &rt->mem, NULL, 0, WORKERS, NULL) == TM_OK);
  atomic_store(&ran, 0);
  tm__job *job = toy_submit(pool, &t, 1, NULL);
  tm__region_run(pool, &c, &options);
  CHECK(job && toy_wait(job));
  tm__job_unref(job);
  tm__call_term(&c);
}

int main(void) {
  tm__pool *pool = NULL;
  rt = toy_runtime(NULL);
  rt->cpus.usable = 8; /* so that they spin, whatever else runs */
  CHECK(tm__kernels_add(&rt->kernels, &awaits, NULL) == TM_OK);
  CHECK(toy_pool(&pool, rt, WORKERS, NULL) == TM_OK);
  for (int i = 0; i < TIMES && !forgotten; i++)
    meet_both(pool, tm__kernels_find(&rt->kernels, NULL, "await_job"));
  CHECK(forgotten == 0);
  toy_end(pool);
  tm_runtime_free(rt);
  return check_done();
}
