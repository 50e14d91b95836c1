#include "run/pool.h"

#include <sched.h>

#include "base/platform.h"
#include "run/runtime.h"

/* ---- life ---- */

static bool wants_pin(const tm_runtime *rt, const tm__pool_options *o) {
  if (o->kind->runs_in_caller || o->pin == TM__PIN_NO) return false;
  if (o->pin == TM__PIN_YES) return true;
  return o->workers == rt->cpus.affinity && rt->cpus.quota <= 0;
}

static int start_workers(tm__pool *pool, tm_error *e) {
  for (int i = 0; i < pool->nworkers; i++) {
    tm__worker *w = tm__worker_new(pool, i);
    if (!w) return tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
    int status = pool->kind->start(w, e);
    if (status) {
      tm__worker_free(w);
      return status;
    }
    pthread_mutex_lock(&pool->roster);
    pool->workers[i] = w;
    pthread_mutex_unlock(&pool->roster);
  }
  return TM_OK;
}

static void pool_free(tm__pool *pool) {
  tm_runtime *rt = pool->rt;
  for (int i = 0; pool->workers && i < pool->nworkers; i++)
    tm__worker_free(pool->workers[i]);
  tm__free(pool->mem, pool->workers);
  if (pool->guest->dispose) pool->guest->dispose(pool->guest_user);
  tm__msg_unref(pool->initializer, pool->mem, rt->store);
  pthread_mutex_destroy(&pool->roster);
  pthread_mutex_destroy(&pool->lock);
  tm__free(pool->mem, pool);
  tm__runtime_unref(rt);
}

int tm__pool_new(tm__pool **out, tm_runtime *rt, const tm__pool_options *o,
                 tm_error *e) {
  tm__pool *pool = tm__calloc(&rt->mem, 1, sizeof *pool);
  *out = NULL;
  if (!pool) {
    tm__msg_unref(o->initializer, &rt->mem, rt->store);
    return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  }
  pool->rt = tm__runtime_ref(rt);
  pool->mem = &rt->mem;
  pool->kind = o->kind;
  pool->guest = o->guest;
  pool->guest_user = o->guest_user;
  pool->initializer = o->initializer;
  pool->max_items = o->max_items;
  pool->max_memory = o->max_memory;
  pool->pinned = wants_pin(rt, o);
  pool->nworkers = o->workers;
  atomic_init(&pool->refs, 1);
  pthread_mutex_init(&pool->roster, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pool->workers = tm__calloc(pool->mem, (size_t)o->workers,
                             sizeof *pool->workers);
  int status = pool->workers ? start_workers(pool, e)
                             : tm__fail(e, TM_ENOMEM,
                                        "not enough memory for %d workers",
                                        o->workers);
  if (status) {
    tm__pool_terminate(pool);
    tm__pool_join(pool, NULL, NULL);
    tm__pool_unref(pool);
    return status;
  }
  *out = pool;
  return TM_OK;
}

tm__pool *tm__pool_ref(tm__pool *pool) {
  atomic_fetch_add(&pool->refs, 1);
  return pool;
}

void tm__pool_unref(tm__pool *pool) {
  if (pool && atomic_fetch_sub(&pool->refs, 1) == 1) pool_free(pool);
}

/* ---- the queue ---- */

static void link_job(tm__pool *pool, tm__job *job) {
  if (job->queued) return;
  job->queued = true;
  job->queued_next = NULL;
  job->queued_prev = pool->tail;
  if (pool->tail)
    pool->tail->queued_next = job;
  else
    pool->head = job;
  pool->tail = job;
  tm__job_ref(job);
}

/* The queue's reference is the caller's from now on. */
static void unlink_job(tm__pool *pool, tm__job *job) {
  job->queued = false;
  if (job->queued_prev)
    job->queued_prev->queued_next = job->queued_next;
  else
    pool->head = job->queued_next;
  if (job->queued_next)
    job->queued_next->queued_prev = job->queued_prev;
  else
    pool->tail = job->queued_prev;
}

/* Wakes sleepers for `count` items; those that spin come by themselves. */
static void wake(tm__pool *pool, uint64_t count) {
  atomic_fetch_add(&pool->epoch, 1);
  uint32_t spinners = atomic_load(&pool->spinners);
  if (count <= spinners || !atomic_load(&pool->sleepers)) return;
  count -= spinners;
  int most = count < 1024 ? (int)count : 1024;
  tm__futex_wake(&pool->epoch, most, false);
}

static uint64_t unclaimed(tm__job *job) {
  uint64_t next = atomic_load(&job->next), limit = atomic_load(&job->limit);
  return (next < limit ? limit - next : 0) + atomic_load(&job->nagain);
}

void tm__pool_announce(tm__pool *pool, tm__job *job) {
  if (pool->kind->runs_in_caller) return;
  pthread_mutex_lock(&pool->lock);
  link_job(pool, job);
  pthread_mutex_unlock(&pool->lock);
  wake(pool, unclaimed(job));
}

static bool accepts(tm__pool *pool) {
  tm__worker *self = tm__worker_self();
  if (pool->state == TM__OPEN) return true;
  return pool->state == TM__CLOSED && self && self->pool == pool;
}

int tm__pool_submit(tm__pool *pool, tm__job *job, tm_error *e) {
  if (job->spec.timeout && !tm__job_done(job)) {
    int status = tm__monitor_watch(&pool->rt->monitor, pool,
                                   job->spec.timeout, e);
    if (status) return status;
    job->watched = true;
  }
  pthread_mutex_lock(&pool->lock);
  bool taken = accepts(pool);
  int state = pool->state;
  if (taken && !pool->kind->runs_in_caller && !tm__job_done(job))
    link_job(pool, job);
  pthread_mutex_unlock(&pool->lock);
  if (!taken) {
    tm__job_stop(job, TM__FAIL_CANCELLED);
    return tm__fail(e, TM_ECLOSED, "the pool is closed%s",
                    state == TM__TERMINATED ? " (terminated)" : "");
  }
  if (!pool->kind->runs_in_caller) wake(pool, unclaimed(job));
  return TM_OK;
}

int tm__pool_next(tm__pool *pool, tm__job **out) {
  tm__job *job, *next, *dropped = NULL;
  pthread_mutex_lock(&pool->lock);
  for (job = pool->head; job; job = next) {
    next = job->queued_next;
    if (tm__job_claimable(job)) break;
    if (!tm__job_exhausted(job)) continue;
    unlink_job(pool, job);
    job->queued_next = dropped;
    dropped = job;
  }
  int status = TM_OK;
  if (!job && (pool->state == TM__TERMINATED ||
               (pool->state == TM__CLOSED && !pool->head)))
    status = TM_ECLOSED;
  *out = job ? tm__job_ref(job) : NULL;
  pthread_mutex_unlock(&pool->lock);
  while (dropped) {
    next = dropped->queued_next;
    tm__job_unref(dropped);
    dropped = next;
  }
  return status;
}

/* ---- waiting ---- */

void tm__pool_help(tm__worker *w, tm__job *job) {
  tm__worker *before = tm__worker_set_self(w);
  if (before != w) w->below = before;
  w->thread = pthread_self();
  tm__worker_run(w, job);
  if (before != w) w->below = NULL;
  tm__worker_set_self(before);
}

static bool spin(tm__job *job, tm__ready_fn ready, void *argument) {
  tm_runtime *rt = job->pool->rt;
  if (!tm__runtime_may_spin(rt)) return false;
  uint64_t until = tm__now() + TM__SPIN_NS;
  do {
    for (int i = 0; i < 64; i++) {
      if (ready(job, argument)) return true;
      tm__relax();
    }
    sched_yield(); /* the worker may be queued on this very CPU */
  } while (tm__runtime_may_spin(rt) && tm__now() < until);
  return false;
}

/* One sleep on the job's tick, at most until `end`. */
static int doze(tm__job *job, tm__ready_fn ready, void *argument,
                uint64_t end) {
  tm_runtime *rt = job->pool->rt;
  int status = TM_OK;
  atomic_fetch_add(&job->waiters, 1);
  uint32_t seen = atomic_load(&job->tick);
  if (!ready(job, argument)) {
    uint64_t now = tm__now();
    atomic_fetch_sub(&rt->awake, 1);
    if (now >= end)
      status = TM_ETIMEOUT;
    else
      status = tm__futex_wait(&job->tick, seen,
                              end == TM__FOREVER ? end : end - now, false);
    atomic_fetch_add(&rt->awake, 1);
  }
  atomic_fetch_sub(&job->waiters, 1);
  return status;
}

static bool must_unwind(tm__worker *self) {
  int kind;
  return self && tm__worker_unwind(self, &kind) >= 0;
}

int tm__pool_wait(tm__job *job, tm__worker *self, tm__ready_fn ready,
                  void *argument, uint64_t timeout) {
  bool helps = self && self->pool == job->pool;
  uint64_t end = timeout == TM__FOREVER ? timeout : tm__now() + timeout;
  for (;;) {
    if (ready(job, argument)) return TM_OK;
    if (must_unwind(self)) return TM_ECANCELLED;
    if (helps && tm__job_claimable(job)) {
      tm__pool_help(self, job);
      continue;
    }
    if (spin(job, ready, argument)) return TM_OK;
    int status = doze(job, ready, argument, end);
    if (status == TM_ETIMEOUT)
      return ready(job, argument) ? TM_OK : TM_ETIMEOUT;
    if (status == TM_ECANCELLED && (!self || must_unwind(self)))
      return TM_ECANCELLED;
  }
}

/* ---- ends ---- */

static void interrupt_all(tm__pool *pool) {
  pthread_mutex_lock(&pool->roster);
  for (int i = 0; i < pool->nworkers; i++)
    if (pool->workers[i]) tm__worker_interrupt(pool->workers[i]);
  pthread_mutex_unlock(&pool->roster);
}

void tm__pool_cancel(tm__job *job, int kind) {
  tm__job_stop(job, kind);
  if (!tm__job_done(job) && !job->pool->kind->runs_in_caller)
    interrupt_all(job->pool);
}

void tm__pool_close(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  if (pool->state == TM__OPEN) pool->state = TM__CLOSED;
  pthread_mutex_unlock(&pool->lock);
  wake(pool, INT32_MAX);
}

/* Stops what the workers run: jobs that are claimed whole are in no queue.
   */
static void stop_running(tm__pool *pool) {
  pthread_mutex_lock(&pool->roster);
  for (int i = 0; i < pool->nworkers; i++) {
    tm__worker *w = pool->workers[i];
    if (!w || pool->kind->runs_in_caller) continue;
    pthread_mutex_lock(&w->lock);
    for (tm__piece *p = w->piece; p; p = p->outer)
      if (p->job->pool == pool) tm__job_stop(p->job, TM__FAIL_CANCELLED);
    pthread_mutex_unlock(&w->lock);
  }
  pthread_mutex_unlock(&pool->roster);
}

static void stop_queued(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  pool->state = TM__TERMINATED;
  for (tm__job *job = pool->head; job; job = job->queued_next)
    tm__job_stop(job, TM__FAIL_CANCELLED);
  pthread_mutex_unlock(&pool->lock);
}

void tm__pool_terminate(tm__pool *pool) {
  stop_queued(pool);
  stop_running(pool);
  interrupt_all(pool);
  wake(pool, INT32_MAX);
}

int tm__pool_state_of(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  int state = pool->state;
  pthread_mutex_unlock(&pool->lock);
  return state;
}

/* What no worker is left to settle: items given back to a dead pool. */
static void drain(tm__pool *pool) {
  tm__job *job;
  tm__claim claim;
  while (tm__pool_next(pool, &job) == TM_OK && job) {
    while (tm__job_claim(job, UINT64_MAX, 1, &claim))
      tm__job_publish(job, NULL, claim.first, 0, claim.last - claim.first);
    tm__job_unref(job);
  }
}

enum { SLICE_NS = 50000000, LEAVE_BEHIND_SLICES = 20 };

/* A worker that does not answer after terminate is stuck in C code. It
   keeps a reference to the pool and frees itself if it ever returns. */
static void leave_behind(tm__pool *pool, int index) {
  tm__worker *w = pool->workers[index];
  pthread_mutex_lock(&pool->roster);
  pthread_mutex_lock(&w->lock);
  if (w->piece && !atomic_load(&w->exited)) {
    pthread_t thread = w->thread;
    tm__worker_abandon(w);
    pool->workers[index] = NULL;
    pthread_detach(thread);
  }
  pthread_mutex_unlock(&w->lock);
  pthread_mutex_unlock(&pool->roster);
}

static int join_worker(tm__pool *pool, int index, bool (*stop)(void *),
                       void *argument) {
  int slices = 0;
  for (;;) {
    tm__worker *w = pool->workers[index];
    if (!w) return TM_OK;
    if (atomic_load(&w->exited)) {
      pthread_join(w->thread, NULL);
      pthread_mutex_lock(&pool->roster);
      pool->workers[index] = NULL;
      pthread_mutex_unlock(&pool->roster);
      tm__worker_free(w);
      return TM_OK;
    }
    atomic_fetch_sub(&pool->rt->awake, 1);
    tm__futex_wait(&w->exited, 0, SLICE_NS, false);
    atomic_fetch_add(&pool->rt->awake, 1);
    if (stop && stop(argument)) return TM_ECANCELLED;
    if (tm__pool_state_of(pool) != TM__TERMINATED) continue;
    tm__worker_interrupt(w);
    if (++slices > LEAVE_BEHIND_SLICES) leave_behind(pool, index);
  }
}

int tm__pool_join(tm__pool *pool, bool (*stop)(void *), void *argument) {
  if (pool->joined) return TM_OK;
  for (int i = 0; i < pool->nworkers && pool->workers; i++) {
    if (pool->kind->runs_in_caller) {
      tm__worker_close(pool->workers[i]);
    } else {
      int status = join_worker(pool, i, stop, argument);
      if (status) return status;
    }
  }
  tm__monitor_forget(&pool->rt->monitor, pool);
  drain(pool);
  pool->joined = true;
  return TM_OK;
}

void tm__pool_break(tm__pool *pool, const tm_error *why) {
  pthread_mutex_lock(&pool->lock);
  if (!pool->broken) pool->fault = *why;
  pool->broken = true;
  pthread_mutex_unlock(&pool->lock);
}

void tm__pool_replace(tm__pool *pool, int index) {
  tm_error e;
  pool->workers[index] = NULL;
  tm__worker *w = tm__worker_new(pool, index);
  if (w && pool->kind->start(w, &e) == TM_OK) {
    pool->workers[index] = w;
    return;
  }
  tm__worker_free(w);
  tm__log_printf(&pool->rt->log, TM_LOG_WARNING,
                 "tidemill: a lost worker could not be replaced");
}
