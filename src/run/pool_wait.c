/*
 * pool_wait.c: waiting for a job, and helping it meanwhile
 */
#include "run/pool.h"

#include <sched.h>

#include "base/platform.h"
#include "run/runs.h"
#include "run/runtime.h"

static void enter_inline(tm__worker *w) {
  pthread_mutex_lock(&w->lock);
  w->thread = pthread_self();
  pthread_mutex_unlock(&w->lock);
}

void tm__pool_help(tm__worker *w, tm__job *job) {
  tm__worker *before = tm__worker_set_self(w);
  if (w->pool->kind->runs_in_caller) enter_inline(w);
  tm__worker_run(w, job);
  tm__worker_set_self(before);
}

static bool spin(tm__job *job, tm__ready_fn ready, void *argument) {
  tm__pool *pool = job->pool;
  if (!tm__pool_may_spin(pool)) return false;
  uint64_t until = tm__now() + TM__SPIN_NS;
  do {
    for (int i = 0; i < 64; i++) {
      if (ready(job, argument)) return true;
      tm__relax();
    }
    sched_yield(); /* the worker may be queued on this very CPU */
  } while (tm__pool_may_spin(pool) && tm__now() < until);
  return false;
}

/* Processes know by it whether they may spin. */
static void set_asleep(tm__pool *pool, bool asleep) {
  atomic_fetch_add(&pool->rt->awake, asleep ? -1 : 1);
  if (pool->hub) atomic_store(&pool->hub->script_sleeps, asleep);
}

/* Sleeps until the tick is not `seen`, at most until `end`. */
static int sleep_on(tm__job *job, uint32_t seen, uint64_t end) {
  uint64_t now = tm__now(), until = tm__pool_refill_at(job->pool);
  if (now >= end) return TM_ETIMEOUT;
  if (until > end) until = end;
  if (until <= now) return TM_OK;
  int status = tm__futex_wait(&job->tick, seen,
                              until == TM__FOREVER ? until : until - now,
                              job->hub != NULL);
  return status == TM_ETIMEOUT && until < end ? TM_OK : status;
}

/* One sleep on the job's tick, at most until `end`. Whoever cancels what runs
   here raises the tick too, after it said so; whoever sees a process die does
   the same. */
static int doze(tm__job *job, tm__ready_fn ready, void *argument,
                uint64_t end) {
  tm__pool *pool = job->pool;
  int status = TM_OK;
  atomic_fetch_add(&job->waiters, 1);
  tm__worker_set_waiting(job);
  uint32_t seen = atomic_load(&job->tick);
  if (!ready(job, argument) && !tm__worker_must_unwind() &&
      !tm__pool_wants_refill(pool)) {
    set_asleep(pool, true);
    status = sleep_on(job, seen, end);
    set_asleep(pool, false);
  }
  tm__worker_set_waiting(NULL);
  atomic_fetch_sub(&job->waiters, 1);
  return status;
}

/* ---- pools whose tasks wait for each other ---- */

/* How often a worker that waits for another pool looks whether all of its own
   do so. */
#define CIRCLE_NS 50000000u

/* The pool that has one worker less while self waits; NULL. Processes cannot
   wait for each other: pools are their maker's alone. */
static tm__pool *deprived(const tm__job *job, const tm__worker *self) {
  tm__pool *own = self ? self->pool : NULL;
  if (!own || own == job->pool || own->hub || own->kind->runs_in_caller)
    return NULL;
  return own;
}

static bool is_blocked(tm__pool *pool) {
  return atomic_load(&pool->blocked) >= pool->nworkers;
}

/* True when self ran something that nobody else of its pool could, and that
   those whom it waits for may wait for. What else waits is not to be on top of
   what it waits for. */
static bool run_own(tm__pool *own, tm__worker *self, tm__pool *other) {
  tm__job *job;
  if (!own || !is_blocked(own) || !is_blocked(other)) return false;
  if (tm__pool_next(own, &job) || !job) return false;
  atomic_fetch_sub(&own->blocked, 1);
  tm__pool_help(self, job);
  atomic_fetch_add(&own->blocked, 1);
  tm__job_unref(job);
  return true;
}

static uint64_t sooner(uint64_t end, uint64_t span) {
  uint64_t at = tm__now() + span;
  return at < end ? at : end;
}

/* A worker that was called is there by then, when its CPU is free. */
#define NEAR_AFTER_NS 150000u

static int await(tm__job *job, tm__worker *self, tm__ready_fn ready,
                 void *argument, uint64_t timeout) {
  tm__worker *helper = tm__worker_here(job->pool);
  tm__pool *own = deprived(job, self);
  uint64_t end = timeout == TM__FOREVER ? timeout : tm__now() + timeout;
  for (;;) {
    if (ready(job, argument)) return TM_OK;
    if (tm__worker_must_unwind()) return TM_ECANCELLED;
    tm__pool_refill(job->pool);
    tm__pool_give_up(job->pool);
    tm__job_audit(job);
    if (helper && tm__job_claimable(job)) {
      tm__pool_help(helper, job);
      continue;
    }
    if (spin(job, ready, argument)) return TM_OK;
    if (run_own(own, self, job->pool)) continue;
    bool hurries = tm__pool_may_call_near(job->pool, job);
    uint64_t until = own ? sooner(end, CIRCLE_NS) : end;
    if (hurries) until = sooner(until, NEAR_AFTER_NS);
    int status = doze(job, ready, argument, until);
    if (status == TM_ETIMEOUT && hurries &&
        tm__pool_may_call_near(job->pool, job))
      tm__pool_call_near(job->pool);
    if (status == TM_ETIMEOUT && until == end)
      return ready(job, argument) ? TM_OK : TM_ETIMEOUT;
    if (status == TM_ECANCELLED && !self) return TM_ECANCELLED;
  }
}

int tm__pool_wait(tm__job *job, tm__worker *self, tm__ready_fn ready,
                  void *argument, uint64_t timeout) {
  tm__pool *own = deprived(job, self);
  if (own) atomic_fetch_add(&own->blocked, 1);
  int status = await(job, self, ready, argument, timeout);
  if (own) atomic_fetch_sub(&own->blocked, 1);
  if (tm__job_done(job)) tm__job_unwatch(job);
  return status;
}
