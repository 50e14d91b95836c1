/*
 * worker_serve.c: how a worker takes jobs, from its birth to its end
 *
 * Between jobs it spins for about as long as a wake-up costs, unless there
 * are more runnable workers than CPUs, then sleeps on the pool's epoch.
 */
#include <sched.h>

#include "run/process.h"
#include "run/region.h"
#include "run/runs.h"
#include "run/runtime.h"
#include "run/worker.h"

/* Works in the pool's region, when there is one that needs this worker. Who
   submitted a job may have woken this one for it, or nobody because it spun. */
static void attend(tm__worker *w) {
  tm__region *r = w->pool->region;
  if (!r || !tm__region_open(r)) return;
  if (atomic_load(&w->pool->nqueued)) tm__pool_pass_on(w->pool);
  tm__region_join(r, w);
}

/* Threads are counted; a process says it in its seat, since one that was
   killed would be counted for ever. */
static void set_spinning(tm__worker *w, bool spins) {
  if (w->seat)
    tm__hub_mood(w->pool->hub, spins ? TM__SPINNING : TM__AWAKE);
  else
    atomic_fetch_add(&w->pool->bell->spinners, spins ? 1 : UINT32_MAX);
}

static void set_sleeping(tm__worker *w, bool sleeps) {
  if (w->seat)
    tm__hub_mood(w->pool->hub, sleeps ? TM__SLEEPING : TM__AWAKE);
  else
    atomic_fetch_add(&w->pool->bell->sleepers, sleeps ? 1 : UINT32_MAX);
}

/* While it works in a region, a worker does not count as one that spins. Who
   submitted before that may have woken nobody. */
static bool attend_spinning(tm__worker *w, uint32_t seen) {
  tm__region *r = w->pool->region;
  if (!r || !tm__region_open(r)) return false;
  set_spinning(w, false);
  if (atomic_load(&w->pool->bell->epoch) != seen) tm__pool_pass_on(w->pool);
  bool attended = tm__region_join(r, w);
  set_spinning(w, true);
  return attended;
}

/* Whoever submits runs on the CPU that we are pinned to, and another worker
   could come in our place. */
static bool in_the_way(tm__worker *w) {
  tm__pool *pool = w->pool;
  /* relaxed: hints */
  int cpu = atomic_load_explicit(&w->cpu, memory_order_relaxed);
  if (cpu < 0) return false;
  return cpu == atomic_load_explicit(&pool->caller, memory_order_relaxed) &&
         atomic_load_explicit(&pool->bell->sleepers, memory_order_relaxed) &&
         !tm__pool_is_near(pool);
}

static bool spin(tm__worker *w, uint32_t seen) {
  tm__pool *pool = w->pool;
  if (!tm__pool_may_spin(pool) || in_the_way(w)) return false;
  set_spinning(w, true);
  uint64_t until = tm__now() + TM__SPIN_NS;
  bool news = false;
  do {
    for (int i = 0; i < 64 && !news; i++) {
      tm__relax();
      if (attend_spinning(w, seen)) until = tm__now() + TM__SPIN_NS;
      news = atomic_load(&pool->bell->epoch) != seen;
    }
    if (!news) sched_yield(); /* who submits may be queued on this CPU */
  } while (!news && tm__pool_may_spin(pool) && tm__now() < until);
  set_spinning(w, false);
  return news;
}

static bool called(tm__worker *w) {
  tm__region *r = w->pool->region;
  return r && tm__region_calls(r, w);
}

/* Jobs that are done hold memory until the parent frees them, and nothing may
   bring it here for long. */
static void sleep_briefly(tm__worker *w, uint32_t seen) {
  tm__bell *bell = w->pool->bell;
  if (!atomic_load(&bell->left)) return;
  tm__futex_wait(&bell->epoch, seen, TM__LEFT_NS, true);
  if (atomic_load(&bell->epoch) == seen && atomic_load(&bell->left))
    tm__process_ring();
}

/* A process whose parent cannot tell the kernel to end it looks at times. */
static void sleep_on(tm__worker *w, uint32_t seen) {
  _Atomic uint32_t *epoch = &w->pool->bell->epoch;
  if (!w->seat) {
    tm__futex_wait_as(epoch, seen, tm__region_bit(w));
    return;
  }
  sleep_briefly(w, seen);
  tm__futex_wait(epoch, seen, TM__ORPHAN_NS, true);
  tm__process_check_parent();
}

/* Memory may hang from the garbage of a state whose owner waits for it. False
   when there was news. */
static bool settle_down(tm__worker *w, uint32_t seen) {
  bool (*rest)(tm__worker *) = w->pool->guest->rest;
  while (rest && w->state && rest(w))
    if (atomic_load(&w->pool->bell->epoch) != seen || called(w)) return false;
  return true;
}

/* Waits until the epoch is not `seen`, or a region is open. A submitter raises
   the epoch before it looks at sleepers, we count ourselves before we look at
   the epoch. */
static void idle(tm__worker *w, uint32_t seen) {
  tm__pool *pool = w->pool;
  if (spin(w, seen) || !settle_down(w, seen)) return;
  set_sleeping(w, true);
  if (atomic_load(&pool->bell->epoch) == seen && !called(w)) {
    atomic_fetch_sub(&pool->rt->awake, 1);
    sleep_on(w, seen);
    atomic_fetch_add(&pool->rt->awake, 1);
  }
  set_sleeping(w, false);
}

/* pool->fault does not change once it was written, which was before this
   worker was without a state. */
static void fail_job(tm__worker *w, tm__job *job) {
  tm__claim claim;
  while (tm__job_claim(job, 1, w->pool->nworkers, (uint32_t)w->index, &claim)) {
    if (tm__job_skips(job, claim.first))
      tm__job_leave(job, &claim);
    else
      tm__job_publish_failure(job, &claim, TM__FAIL_TASK, w->pool->fault.text);
  }
}

static bool gone(tm__worker *w) {
  pthread_mutex_lock(&w->lock);
  bool abandoned = w->abandoned;
  pthread_mutex_unlock(&w->lock);
  return abandoned;
}

static void serve_job(tm__worker *w, tm__job *job) {
  if (!w->state && w->short_of_memory) tm__worker_open(w);
  if (w->state)
    tm__worker_run(w, job);
  else
    fail_job(w, job);
  tm__job_unref(job);
}

static void nap(tm__worker *w, uint32_t seen) {
  tm__worker_tidy(w);
  if (tm__worker_rest(w)) idle(w, seen);
  tm__worker_rise(w);
}

/* A process that is used up ends, and another takes its seat. */
static bool stays(tm__worker *w) {
  return !gone(w) && !(w->seat && w->used_up);
}

/* The first worker to see that the pool ends tells the others. */
void tm__worker_serve(tm__worker *w) {
  tm__pool *pool = w->pool;
  while (stays(w)) {
    uint32_t seen = atomic_load(&pool->bell->epoch);
    tm__job *job;
    attend(w);
    if (tm__pool_next(pool, &job) == TM_ECLOSED) break;
    if (job)
      serve_job(w, job);
    else
      nap(w, seen);
  }
  tm__pool_wake_all(pool);
}
