#include "run/pool.h"

#include "base/platform.h"
#include "run/region.h"
#include "run/runtime.h"

/* ---- life ---- */

static bool wants_pin(const tm_runtime *rt, const tm__pool_options *o) {
  if (o->kind->runs_in_caller || o->pin == TM__PIN_NO) return false;
  if (o->pin == TM__PIN_YES) return true;
  return o->workers == rt->cpus.affinity && rt->cpus.quota <= 0;
}

static int start_workers(tm__pool *pool, tm_error *e) {
  if (!pool->kind->runs_in_caller && pool->nworkers > 1) {
    pool->region = tm__region_new(pool);
    if (!pool->region)
      return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  }
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
  tm__monitor_forget(&rt->monitor, pool);
  for (int i = 0; i < pool->nworkers; i++) tm__worker_free(pool->workers[i]);
  tm__free(pool->mem, pool->workers);
  tm__region_free(pool->region);
  if (pool->guest_user && pool->guest->dispose)
    pool->guest->dispose(pool->guest_user);
  tm__msg_unref(pool->initializer, pool->mem, rt->store);
  pthread_mutex_destroy(&pool->roster);
  pthread_mutex_destroy(&pool->lock);
  tm__free(pool->mem, pool);
  tm__runtime_unref(rt);
}

/* A pool with no worker yet; NULL without memory. */
static tm__pool *allocate(tm_runtime *rt, const tm__pool_options *o) {
  tm__pool *pool = tm__calloc(&rt->mem, 1, sizeof *pool);
  tm__worker **workers =
      tm__calloc(&rt->mem, (size_t)o->workers, sizeof *workers);
  if (!pool || !workers) {
    tm__free(&rt->mem, pool);
    tm__free(&rt->mem, workers);
    return NULL;
  }
  pool->workers = workers;
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
  return pool;
}

int tm__pool_new(tm__pool **out, tm_runtime *rt, const tm__pool_options *o,
                 tm_error *e) {
  *out = NULL;
  tm__pool *pool = allocate(rt, o);
  if (!pool) {
    tm__msg_unref(o->initializer, &rt->mem, rt->store);
    return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  }
  int status = start_workers(pool, e);
  if (status) {
    tm__pool_terminate(pool);
    tm__pool_join(pool, NULL, NULL);
    pool->guest_user = NULL; /* the caller's still */
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
  if (job->queued || job->stopped) return;
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

bool tm__pool_unlink(tm__pool *pool, tm__job *job) {
  if (!job->queued) return false;
  job->queued = false;
  if (job->queued_prev)
    job->queued_prev->queued_next = job->queued_next;
  else
    pool->head = job->queued_next;
  if (job->queued_next)
    job->queued_next->queued_prev = job->queued_prev;
  else
    pool->tail = job->queued_prev;
  return true;
}

/* Wakes sleepers for `count` items; those that spin come by themselves. */
static void wake(tm__pool *pool, uint64_t count) {
  atomic_fetch_add(&pool->epoch, 1);
  uint32_t spinners = atomic_load(&pool->spinners);
  if (count <= spinners || !atomic_load(&pool->sleepers)) return;
  count -= spinners;
  int most = count < INT32_MAX ? (int)count : INT32_MAX;
  tm__futex_wake(&pool->epoch, most, false);
}

void tm__pool_wake_all(tm__pool *pool) { wake(pool, UINT64_MAX); }

/* A worker that spun may have taken one of several jobs whose submitters
   counted on it: it passes the call on. */
static void wake_next(tm__pool *pool) {
  if (atomic_load(&pool->sleepers) && !atomic_load(&pool->spinners))
    tm__futex_wake(&pool->epoch, 1, false);
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

void tm__pool_dismiss(tm__pool *pool, tm__job *job) {
  bool queued = false;
  pthread_mutex_lock(&pool->lock);
  if (tm__job_exhausted(job)) queued = tm__pool_unlink(pool, job);
  pthread_mutex_unlock(&pool->lock);
  if (queued) tm__job_unref(job);
  if (tm__pool_state_of(pool) != TM__OPEN) tm__pool_wake_all(pool);
}

static bool accepts(tm__pool *pool) {
  int state = tm__pool_state_of(pool);
  if (state == TM__OPEN) return true;
  return state == TM__CLOSED && tm__worker_here(pool);
}

int tm__pool_submit(tm__pool *pool, tm__job *job, tm_error *e) {
  if (job->spec.timeout && !tm__job_done(job)) {
    int status =
        tm__monitor_watch(&pool->rt->monitor, pool, job->spec.timeout, e);
    if (status) return status;
    job->watched = true;
  }
  pthread_mutex_lock(&pool->lock);
  bool taken = accepts(pool);
  if (taken && !pool->kind->runs_in_caller && !tm__job_done(job))
    link_job(pool, job);
  pthread_mutex_unlock(&pool->lock);
  if (!taken) {
    tm__job_stop(job, TM__FAIL_CANCELLED);
    return tm__fail(e, TM_ECLOSED, "the pool is closed%s",
                    tm__pool_state_of(pool) == TM__TERMINATED ? " (terminated)"
                                                              : "");
  }
  tm__worker_adopt(job);
  if (!pool->kind->runs_in_caller) wake(pool, unclaimed(job));
  return TM_OK;
}

/* The first job with something to claim, or the first that never will have:
   then *dropped. The latter may come back at once, when a worker gives items
   back, so nothing may be done with it but to let go of it. */
static tm__job *find_job(tm__pool *pool, tm__job **dropped) {
  for (tm__job *job = pool->head; job; job = job->queued_next) {
    if (tm__job_claimable(job)) return job;
    if (!tm__job_exhausted(job)) continue;
    tm__pool_unlink(pool, job);
    *dropped = job;
    return NULL;
  }
  return NULL;
}

static bool ended(tm__pool *pool) {
  int state = tm__pool_state_of(pool);
  return state == TM__TERMINATED || (state == TM__CLOSED && !pool->head);
}

/* One look at the queue; false when a job was dropped from it. */
static bool look(tm__pool *pool, tm__job **out, int *status) {
  tm__job *dropped = NULL;
  pthread_mutex_lock(&pool->lock);
  tm__job *job = find_job(pool, &dropped);
  bool more = job && (job->queued_next || unclaimed(job) > 1);
  *status = !job && ended(pool) ? TM_ECLOSED : TM_OK;
  *out = job ? tm__job_ref(job) : NULL;
  pthread_mutex_unlock(&pool->lock);
  if (more) wake_next(pool);
  tm__job_unref(dropped);
  return !dropped;
}

int tm__pool_next(tm__pool *pool, tm__job **out) {
  int status;
  while (!look(pool, out, &status)) {
  }
  return status;
}
