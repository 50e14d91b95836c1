#include "run/pool.h"

#include "base/platform.h"
#include "run/region.h"
#include "run/runs.h"
#include "run/runtime.h"
#include "run/spawned.h"

/* ---- life ---- */

static bool wants_pin(const tm_runtime *rt, const tm__pool_options *o) {
  if (o->kind->runs_in_caller || o->kind->process) return false;
  if (o->pin == TM__PIN_NO) return false;
  if (o->pin == TM__PIN_YES) return true;
  return o->workers == rt->cpus.affinity && rt->cpus.quota <= 0;
}

static bool wants_region(const tm__pool *pool) {
  return !pool->kind->runs_in_caller && !pool->kind->process &&
         pool->nworkers > 1;
}

static int start_worker(tm__pool *pool, int index, tm_error *e) {
  tm__worker *w = tm__worker_new(pool, index);
  if (!w) return tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
  int status = pool->kind->start(w, e);
  if (status) {
    tm__worker_free(w);
    return status;
  }
  pthread_mutex_lock(&pool->roster);
  pool->workers[index] = w;
  pthread_mutex_unlock(&pool->roster);
  return TM_OK;
}

static int start_workers(tm__pool *pool, tm_error *e) {
  int status = TM_OK;
  if (wants_region(pool)) {
    pool->region = tm__region_new(pool);
    if (!pool->region)
      return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  }
  if (pool->kind->forks) tm__monitor_hold(&pool->rt->monitor);
  for (int i = 0; i < pool->nworkers && status == TM_OK; i++)
    status = start_worker(pool, i, e);
  if (pool->kind->forks) tm__monitor_release(&pool->rt->monitor);
  if (pool->hub) tm__monitor_wake(&pool->rt->monitor);
  return status;
}

const tm__mem *tm__pool_memory(tm_runtime *rt, const tm__worker_kind *kind) {
  return kind->process ? tm__arena_mem(rt->arena) : &rt->mem;
}

/* What processes share is in the arena; false without memory. */
static bool share(tm__pool *pool, const tm__pool_options *o) {
  pool->bell = &pool->own;
  pool->mem = tm__pool_memory(pool->rt, o->kind);
  if (!o->kind->process) return true;
  pool->hub = tm__hub_new(pool->mem, o->workers);
  if (!pool->hub) return false;
  pool->bell = &pool->hub->bell;
  pthread_mutex_lock(&pool->rt->lock);
  tm__hub_show(pool->hub);
  pthread_mutex_unlock(&pool->rt->lock);
  return true;
}

static void end_sharing(tm__pool *pool) {
  if (!pool->hub) return;
  pthread_mutex_lock(&pool->rt->lock);
  tm__hub_hide(pool->hub);
  pthread_mutex_unlock(&pool->rt->lock);
  tm__hub_free(pool->hub, pool->mem);
}

static void pool_free(tm__pool *pool) {
  tm_runtime *rt = pool->rt;
  tm__monitor_forget(&rt->monitor, pool);
  for (int i = 0; i < pool->nworkers; i++) tm__worker_free(pool->workers[i]);
  tm__free(&rt->mem, pool->workers);
  tm__region_free(pool->region);
  if (pool->guest_user && pool->guest->dispose)
    pool->guest->dispose(pool->guest_user);
  tm__msg_unref(pool->initializer, pool->mem, rt->store);
  tm__spawner_free(pool->spawner, pool);
  end_sharing(pool);
  pthread_mutex_destroy(&pool->roster);
  pthread_mutex_destroy(&pool->lock);
  tm__free(&rt->mem, pool);
  tm__runtime_unref(rt);
}

/* A pool with no worker yet; NULL without memory. */
static tm__pool *allocate(tm_runtime *rt, const tm__pool_options *o) {
  tm__pool *pool = tm__calloc(&rt->mem, 1, sizeof *pool);
  tm__worker **workers =
      tm__calloc(&rt->mem, (size_t)o->workers, sizeof *workers);
  if (pool) pool->rt = rt;
  if (!pool || !workers || !share(pool, o)) {
    tm__free(&rt->mem, pool);
    tm__free(&rt->mem, workers);
    return NULL;
  }
  tm__runtime_ref(rt);
  pool->workers = workers;
  pool->pid = tm__pid();
  pool->maker = pthread_self();
  pool->kind = o->kind;
  pool->guest = o->guest;
  pool->guest_user = o->guest_user;
  pool->initializer = o->initializer;
  pool->max_items = o->max_items;
  pool->max_memory = o->max_memory;
  pool->pinned = wants_pin(rt, o);
  if (pool->pinned) pool->pin_first = tm__mask_index(&rt->mask, tm__cpu()) + 1;
  pool->nworkers = o->workers;
  atomic_init(&pool->caller, -1);
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
    tm__msg_unref(o->initializer, tm__pool_memory(rt, o->kind), rt->store);
    return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  }
  int status = TM_OK;
  if (pool->hub) status = tm__monitor_watch(&rt->monitor, pool, e);
  if (status == TM_OK) status = start_workers(pool, e);
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

/* relaxed, release: the lock is held, and who looks without it looks again. */
static void count(_Atomic uint32_t *length, uint32_t change) {
  uint32_t n = atomic_load_explicit(length, memory_order_relaxed);
  atomic_store_explicit(length, n + change, memory_order_release);
}

static void append(tm__pool *pool, tm__job *job) {
  count(&pool->nqueued, 1);
  job->queued = true;
  job->queued_next = NULL;
  job->queued_prev = pool->tail;
  if (pool->tail)
    pool->tail->queued_next = job;
  else
    pool->head = job;
  pool->tail = job;
}

static void take_out(tm__pool *pool, tm__job *job) {
  count(&pool->nqueued, UINT32_MAX);
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

static void link_job(tm__pool *pool, tm__job *job) {
  if (job->queued || job->entry || atomic_load(&job->stopped)) return;
  tm__job_ref(job);
  if (pool->hub && !pool->head && tm__hub_put(pool->hub, job)) return;
  append(pool, job);
  /* the monitor lets it in, should the script compute meanwhile */
  if (pool->hub) tm__monitor_wake(&pool->rt->monitor);
}

static bool unlink_job(tm__pool *pool, tm__job *job) {
  if (job->queued)
    take_out(pool, job);
  else
    return job->entry && tm__hub_remove(pool->hub, job);
  return true;
}

bool tm__pool_unlink(tm__pool *pool, tm__job *job) {
  if (pool == tm__served) return false;
  pthread_mutex_lock(&pool->lock);
  bool queued = unlink_job(pool, job);
  pthread_mutex_unlock(&pool->lock);
  return queued;
}

/* ---- waking ---- */

static uint32_t count_spinners(tm__pool *pool) {
  return pool->hub ? tm__hub_count(pool->hub, TM__SPINNING)
                   : atomic_load(&pool->bell->spinners);
}

static bool any_sleeps(tm__pool *pool) {
  return pool->hub ? tm__hub_count(pool->hub, TM__SLEEPING) > 0
                   : atomic_load(&pool->bell->sleepers) > 0;
}

uint32_t tm__pool_welcome(tm__pool *pool, int cpu) {
  uint32_t bits = UINT32_MAX;
  if (!pool->pinned || pool->nworkers > 32) return bits;
  if (pthread_mutex_trylock(&pool->roster)) return bits;
  for (int i = 0; i < pool->nworkers; i++) {
    tm__worker *w = pool->workers[i];
    if (w && atomic_load(&w->cpu) == cpu) bits &= ~tm__region_bit(w);
  }
  pthread_mutex_unlock(&pool->roster);
  return bits;
}

/* How long the near worker is preferred. A CPU that somebody else uses is not
   free before his slice of some ms is over. */
#define NEAR_NS 20000000u

bool tm__pool_may_call_near(tm__pool *pool, tm__job *job) {
  return pool->pinned && atomic_load(&pool->bell->sleepers) &&
         tm__job_claimable(job);
}

bool tm__pool_is_near(tm__pool *pool) {
  /* relaxed: a hint */
  uint64_t until = atomic_load_explicit(&pool->near, memory_order_relaxed);
  return until && tm__now_coarse() < until;
}

void tm__pool_call_near(tm__pool *pool) {
  atomic_store(&pool->near, tm__now_coarse() + NEAR_NS);
  tm__pool_wake_all(pool);
}

/* Of pinned workers first those that are not on our CPU, while theirs are
   free. */
static void wake_sleepers(tm__pool *pool, int count) {
  _Atomic uint32_t *epoch = &pool->bell->epoch;
  if (pool->pinned && count < pool->nworkers) {
    uint32_t bits = tm__pool_welcome(pool, tm__cpu());
    if (tm__pool_is_near(pool)) bits = ~bits;
    if (bits) count -= tm__futex_wake_some(epoch, count, bits);
  }
  if (count > 0) tm__futex_wake(epoch, count, pool->hub != NULL);
}

/* Wakes sleepers for `count` items; those that spin come by themselves, but for
   such as lost their CPU as they did. */
static void wake(tm__pool *pool, uint64_t count) {
  atomic_fetch_add(&pool->bell->epoch, 1);
  uint32_t spinners = tm__pool_is_near(pool) ? 0 : count_spinners(pool);
  if (count <= spinners || !any_sleeps(pool)) return;
  count -= spinners;
  wake_sleepers(pool, count < INT32_MAX ? (int)count : INT32_MAX);
}

void tm__pool_wake_all(tm__pool *pool) { wake(pool, UINT64_MAX); }

void tm__pool_pass_on(tm__pool *pool) {
  if (any_sleeps(pool) && !count_spinners(pool))
    tm__futex_wake(&pool->bell->epoch, 1, pool->hub != NULL);
}

bool tm__pool_may_spin(tm__pool *pool) {
  if (!pool->hub) return tm__runtime_may_spin(pool->rt);
  return tm__hub_awake(pool->hub) <= pool->rt->cpus.usable;
}

static uint64_t unclaimed(tm__job *job) {
  uint64_t next = atomic_load(&job->next), limit = atomic_load(&job->limit);
  return next < limit ? limit - next : 1;
}

/* ---- jobs that come and go ---- */

void tm__pool_announce(tm__pool *pool, tm__job *job) {
  if (pool->kind->runs_in_caller) return;
  if (pool != tm__served) {
    pthread_mutex_lock(&pool->lock);
    link_job(pool, job);
    pthread_mutex_unlock(&pool->lock);
  }
  wake(pool, unclaimed(job));
}

void tm__pool_dismiss(tm__pool *pool, tm__job *job) {
  bool queued = false;
  if (pool == tm__served) return;
  pthread_mutex_lock(&pool->lock);
  if (pool->hub ? tm__job_done(job) : tm__job_exhausted(job))
    queued = unlink_job(pool, job);
  pthread_mutex_unlock(&pool->lock);
  if (tm__job_done(job)) tm__job_unwatch(job);
  if (queued) tm__job_unref(job);
  if (tm__pool_state_of(pool) != TM__OPEN) tm__pool_wake_all(pool);
}

/* A worker lets go before it looks whether jobs are left, we say that there
   are before we look once more: one of us sees the other. */
bool tm__pool_retire(tm__pool *pool, tm__job *job) {
  _Atomic uint32_t *left = &pool->bell->left;
  pthread_mutex_lock(&pool->lock);
  bool held = tm__hub_holds(pool->hub, job);
  if (held) {
    atomic_fetch_add(left, 1);
    held = tm__hub_holds(pool->hub, job);
    if (!held) atomic_fetch_sub(left, 1);
  }
  if (held) {
    job->queued_next = pool->retired;
    pool->retired = job;
    count(&pool->nretired, 1);
  }
  pthread_mutex_unlock(&pool->lock);
  return !held;
}

/* Takes a retired job out that no seat holds any more; NULL. */
static tm__job *take_retired(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  tm__job **at = &pool->retired;
  while (*at && tm__hub_holds(pool->hub, *at)) at = &(*at)->queued_next;
  tm__job *job = *at;
  if (job) *at = job->queued_next;
  if (job) {
    count(&pool->nretired, UINT32_MAX);
    atomic_fetch_sub(&pool->bell->left, 1);
  }
  pthread_mutex_unlock(&pool->lock);
  return job;
}

/* Takes a job that is done out of the ring, and lets those that wait for a
   place in; NULL when nothing is done. */
static tm__job *turn_ring(tm__pool *pool) {
  bool more = false;
  pthread_mutex_lock(&pool->lock);
  tm__job *done = tm__hub_done(pool->hub);
  if (done) {
    tm__hub_remove(pool->hub, done);
    tm__job_unwatch(done);
  }
  while (pool->head && tm__hub_put(pool->hub, pool->head)) {
    take_out(pool, pool->head);
    more = true;
  }
  pthread_mutex_unlock(&pool->lock);
  if (more) tm__pool_wake_all(pool); /* they may sleep by now */
  return done;
}

void tm__pool_tell(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  tm__hub_tell(pool->hub);
  for (tm__job *job = pool->head; job; job = job->queued_next)
    tm__job_tell(job);
  pthread_mutex_unlock(&pool->lock);
}

bool tm__pool_audit(tm__pool *pool) {
  if (!atomic_exchange(&pool->doubtful, 0)) return false;
  pthread_mutex_lock(&pool->lock);
  bool doubtful = tm__hub_audit(pool->hub);
  pthread_mutex_unlock(&pool->lock);
  if (doubtful) atomic_store(&pool->doubtful, 1);
  return doubtful;
}

void tm__pool_sweep(tm__pool *pool) {
  tm__job *job;
  if (!pool->hub) return;
  bool turned = false;
  while ((job = turn_ring(pool))) {
    tm__job_unref(job);
    turned = true;
  }
  if (turned && tm__pool_state_of(pool) != TM__OPEN) tm__pool_wake_all(pool);
  while (atomic_load(&pool->nretired) && (job = take_retired(pool)))
    tm__job_free(job);
}

bool tm__pool_lingers(tm__pool *pool) {
  return atomic_load(&pool->nqueued) || atomic_load(&pool->nretired);
}

static bool accepts(tm__pool *pool) {
  int state = tm__pool_state_of(pool);
  if (state == TM__OPEN) return true;
  return state == TM__CLOSED && tm__worker_here(pool);
}

int tm__pool_submit(tm__pool *pool, tm__job *job, tm_error *e) {
  if (job->spec.timeout && !tm__job_done(job)) {
    int status =
        tm__monitor_limit(&pool->rt->monitor, pool, job->spec.timeout, e);
    if (status) return status;
    atomic_store(&job->watched, true);
  }
  tm__pool_sweep(pool);
  tm__pool_refill(pool);
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
  if (pool->pinned) /* relaxed: a hint */
    atomic_store_explicit(&pool->caller, tm__cpu(), memory_order_relaxed);
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
    take_out(pool, job);
    *dropped = job;
    return NULL;
  }
  return NULL;
}

bool tm__pool_ended(tm__pool *pool) {
  int state = tm__pool_state_of(pool);
  if (state != TM__CLOSED) return state == TM__TERMINATED;
  if (pool->hub && !tm__hub_empty(pool->hub)) return false;
  return pool == tm__served || !atomic_load(&pool->nqueued);
}

/* One look at the queue; false when a job was dropped from it. */
static bool look(tm__pool *pool, tm__job **out, int *status) {
  tm__job *dropped = NULL;
  pthread_mutex_lock(&pool->lock);
  tm__job *job = find_job(pool, &dropped);
  bool more = job && (job->queued_next || unclaimed(job) > 1);
  *status = !job && tm__pool_ended(pool) ? TM_ECLOSED : TM_OK;
  *out = job ? tm__job_ref(job) : NULL;
  pthread_mutex_unlock(&pool->lock);
  if (more) tm__pool_pass_on(pool);
  tm__job_unref(dropped);
  return !dropped;
}

int tm__pool_next(tm__pool *pool, tm__job **out) {
  int status;
  bool more = false;
  if (pool->hub) {
    *out = tm__pool_state_of(pool) == TM__TERMINATED
               ? NULL
               : tm__hub_next(pool->hub, &more);
    if (*out && (more || unclaimed(*out) > 1)) tm__pool_pass_on(pool);
    return !*out && tm__pool_ended(pool) ? TM_ECLOSED : TM_OK;
  }
  while (!look(pool, out, &status)) {
  }
  return status;
}
