/*
 * pool_end.c: cancelling a job; closing, terminating and joining a pool
 */
#include "base/platform.h"
#include "run/pool.h"
#include "run/process.h"
#include "run/runs.h"
#include "run/runtime.h"

/* ---- stopping jobs ---- */

typedef void (*visit_fn)(tm__worker *w, tm__job *job);

/* Calls visit(worker, job) for each worker, with its lock held. */
static void each_worker(tm__pool *pool, visit_fn visit, tm__job *job) {
  pthread_mutex_lock(&pool->roster);
  for (int i = 0; i < pool->nworkers; i++) {
    tm__worker *w = pool->workers[i];
    if (!w) continue;
    pthread_mutex_lock(&w->lock);
    visit(w, job);
    pthread_mutex_unlock(&w->lock);
  }
  pthread_mutex_unlock(&pool->roster);
}

/* What a process does is in its seat. */
static bool seat_runs(const tm__worker *w, const tm__job *job) {
  uint32_t mood = atomic_load(&w->seat->mood);
  return (mood == TM__RUNNING || mood == TM__PREPARING) &&
         (!job || atomic_load(&w->seat->job) == job);
}

static void interrupt_if_runs(tm__worker *w, tm__job *job) {
  if (w->seat && seat_runs(w, job)) w->pool->kind->interrupt(w);
  for (tm__piece *p = w->piece; p; p = p->outer) {
    if (p->job != job) continue;
    tm__worker_poke(w);
    return;
  }
}

void tm__pool_cancel(tm__job *job, int kind) {
  tm__job_stop(job, kind);
  if (!tm__job_done(job) && !job->pool->kind->runs_in_caller)
    each_worker(job->pool, interrupt_if_runs, job);
}

static void stop_queued(tm__pool *pool) {
  for (;;) {
    pthread_mutex_lock(&pool->lock);
    tm__job *job = pool->hub ? tm__hub_first(pool->hub) : NULL;
    if (!job) job = pool->head;
    if (job) tm__job_ref(job);
    pthread_mutex_unlock(&pool->lock);
    if (!job) return;
    tm__job_stop(job, TM__FAIL_CANCELLED); /* which takes it out */
    tm__job_unref(job);
  }
}

/* Jobs that are claimed whole are in no queue. One whose piece begins just
   now is stopped by its worker, who sees the pool's state. */
static void stop_running(tm__worker *w, tm__job *job) {
  (void)job;
  if (w->seat) w->pool->kind->interrupt(w);
  for (tm__piece *p = w->piece; p; p = p->outer)
    tm__job_stop(p->job, TM__FAIL_CANCELLED);
  tm__worker_poke(w);
}

/* ---- the pool's state ---- */

static void set_state(tm__pool *pool, int state) {
  pthread_mutex_lock(&pool->lock);
  if (atomic_load(&pool->bell->state) < state)
    atomic_store(&pool->bell->state, state);
  pthread_mutex_unlock(&pool->lock);
}

void tm__pool_close(tm__pool *pool) {
  set_state(pool, TM__CLOSED);
  tm__pool_wake_all(pool);
}

void tm__pool_terminate(tm__pool *pool) {
  set_state(pool, TM__TERMINATED);
  stop_queued(pool);
  each_worker(pool, stop_running, NULL);
  tm__pool_wake_all(pool);
}

int tm__pool_state_of(tm__pool *pool) {
  return atomic_load(&pool->bell->state);
}

void tm__pool_break(tm__pool *pool, const tm_error *why) {
  pthread_mutex_lock(&pool->lock);
  if (!pool->broken) pool->fault = *why;
  pool->broken = true;
  pthread_mutex_unlock(&pool->lock);
}

/* ---- joining ---- */

/* How a join goes on: who asks whether to give up, and until when workers
   that are to end at once may take; 0 while they are not. */
typedef struct joiner {
  bool (*stop)(void *);
  void *argument;
  uint64_t patience;
} joiner;

#define SLICE_NS 50000000u
#define PATIENCE_NS 1000000000u

/* A worker that does not answer after terminate is stuck in C code. A thread
   keeps a reference to the pool and frees itself if it ever returns; a
   process is killed, and its end is awaited. */
static void leave_behind(tm__pool *pool, int index) {
  tm__worker *w = pool->workers[index];
  pthread_mutex_lock(&w->lock);
  if (pool->hub) {
    tm__process_kill(w, TM__FAIL_CANCELLED);
  } else if (!atomic_load(&w->exited)) {
    pthread_t thread = w->thread;
    tm__worker_abandon(w);
    pool->workers[index] = NULL;
    pthread_detach(thread);
  }
  pthread_mutex_unlock(&w->lock);
}

/* Whether this thread could put another process in the place of one that
   ended while there is work left. */
static bool to_be_replaced(tm__pool *pool) {
  if (!pool->hub || tm__pool_ended(pool)) return false;
  return !pool->kind->forks || pthread_equal(pool->maker, pthread_self());
}

/* Takes a worker that has ended from its place. NULL: *vacant says whether
   the place is empty, or it goes on. */
static tm__worker *take_ended(tm__pool *pool, int index, bool late,
                              bool *vacant) {
  tm__worker *ended = NULL;
  pthread_mutex_lock(&pool->roster);
  tm__worker *w = pool->workers[index];
  if (w && atomic_load(&w->exited)) {
    if (!to_be_replaced(pool)) {
      ended = w;
      pool->workers[index] = NULL;
    }
  } else if (w && late) {
    leave_behind(pool, index);
  } else if (w && tm__pool_state_of(pool) == TM__TERMINATED) {
    tm__worker_interrupt(w);
  }
  *vacant = !pool->workers[index];
  pthread_mutex_unlock(&pool->roster);
  return ended;
}

static bool too_late(tm__pool *pool, joiner *j) {
  if (tm__pool_state_of(pool) != TM__TERMINATED) return false;
  uint64_t now = tm__now();
  if (!j->patience) j->patience = now + PATIENCE_NS;
  return now >= j->patience;
}

static int join_worker(tm__pool *pool, int index, joiner *j) {
  for (;;) {
    bool vacant;
    uint32_t seen = atomic_load(&pool->ends);
    tm__pool_sweep(pool);
    tm__pool_refill(pool);
    tm__worker *w = take_ended(pool, index, too_late(pool, j), &vacant);
    if (w) {
      if (pool->kind->join) pool->kind->join(w);
      tm__worker_free(w);
    }
    if (vacant) return TM_OK;
    atomic_fetch_sub(&pool->rt->awake, 1);
    tm__futex_wait(&pool->ends, seen, SLICE_NS, false);
    atomic_fetch_add(&pool->rt->awake, 1);
    if (j->stop && j->stop(j->argument)) return TM_ECANCELLED;
  }
}

/* What no worker is left to run: items given back by the last. */
static void fail_job(tm__job *job, const char *text) {
  tm__claim claim;
  while (tm__job_claim(job, 1, 1, TM__RUN_WORKERS, &claim))
    if (tm__job_skips(job, claim.first))
      tm__job_leave(job, &claim);
    else
      tm__job_publish_failure(job, &claim, TM__FAIL_DIED, text);
}

void tm__pool_fail_rest(tm__pool *pool, const char *text) {
  for (;;) {
    pthread_mutex_lock(&pool->lock);
    tm__job *job = pool->hub ? tm__hub_first(pool->hub) : NULL;
    if (!job) job = pool->head;
    if (job) tm__job_ref(job);
    pthread_mutex_unlock(&pool->lock);
    if (!job) return;
    bool fed = !atomic_exchange(&job->closed, 1);
    fail_job(job, text);
    if (fed) tm__job_stop(job, TM__FAIL_DIED); /* its owner is to see it */
    tm__job_settle(job, 0);
    bool queued = tm__pool_unlink(pool, job);
    if (queued) tm__job_unref(job);
    tm__job_unref(job);
  }
}

int tm__pool_join(tm__pool *pool, bool (*stop)(void *), void *argument) {
  joiner j = {.stop = stop, .argument = argument};
  if (atomic_load(&pool->joined)) return TM_OK;
  for (int i = 0; i < pool->nworkers; i++) {
    if (pool->kind->runs_in_caller) {
      if (pool->workers[i]) tm__worker_close(pool->workers[i]);
    } else {
      int status = join_worker(pool, i, &j);
      if (status) return status;
    }
  }
  tm__monitor_forget(&pool->rt->monitor, pool);
  tm__pool_fail_rest(pool, "the pool ended before the item ran");
  tm__pool_sweep(pool);
  atomic_store(&pool->joined, true);
  return TM_OK;
}

void tm__pool_replace(tm__pool *pool, int index) {
  tm_error e;
  pool->workers[index] = NULL;
  if (tm__pool_state_of(pool) == TM__TERMINATED) return;
  tm__worker *w = tm__worker_new(pool, index);
  if (w && pool->kind->start(w, &e) == TM_OK) {
    pool->workers[index] = w;
    return;
  }
  tm__worker_free(w);
  pool->missing++;
  atomic_fetch_add(&pool->bell->timed, 1);
}

/* ---- processes that ended too early ---- */

/* So many in a row that die as they open, for each place, are no accident. */
enum { STILLBORN = 3 };

/* When the system refuses one, it is asked again after this. */
#define REFILL_NS 20000000u

/* So long may it take the thread that forks to come by. */
#define STRANDED_NS 1000000000u

/* A worker in the place of one that has exited; false when there is none. */
static bool fill(tm__pool *pool, int index, tm_error *e) {
  tm__worker *w = tm__worker_new(pool, index);
  if (!w) {
    tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
    return false;
  }
  tm__worker *before = pool->workers[index];
  if (pool->kind->start(w, e)) {
    tm__worker_free(w);
    return false;
  }
  pool->workers[index] = w;
  tm__worker_free(before);
  atomic_fetch_sub(&pool->dead, 1);
  return true;
}

/* Fills what places can be filled; answers how many workers live. */
static int fill_places(tm__pool *pool, tm_error *e) {
  int live = 0;
  for (int i = 0; i < pool->nworkers; i++) {
    tm__worker *w = pool->workers[i];
    bool exited = w && atomic_load(&w->exited);
    if (w && (!exited || (!pool->broken && fill(pool, i, e)))) live++;
  }
  return live;
}

static bool too_many_stillborn(const tm__pool *pool, tm_error *e) {
  if (pool->stillborn < STILLBORN * pool->nworkers) return false;
  tm__fail(e, TM_ESYS, "workers die while they start: %s", pool->last_words);
  return true;
}

/* Whether places are empty that this thread may fill. */
static bool may_refill(tm__pool *pool) {
  if (!pool->hub || pool == tm__served || !atomic_load(&pool->dead))
    return false;
  if (pool->kind->forks && !pthread_equal(pool->maker, pthread_self()))
    return false;
  return tm__pool_state_of(pool) != TM__TERMINATED;
}

bool tm__pool_wants_refill(tm__pool *pool) {
  return may_refill(pool) && tm__now() >= atomic_load(&pool->refill_at);
}

/* Whether places are empty that another thread alone may fill: all of them. */
static bool is_stranded(tm__pool *pool) {
  if (!pool->hub || !pool->kind->forks || pool == tm__served) return false;
  return atomic_load(&pool->dead) == pool->nworkers && !may_refill(pool);
}

uint64_t tm__pool_refill_at(tm__pool *pool) {
  if (is_stranded(pool)) return atomic_load(&pool->died_at) + STRANDED_NS;
  return may_refill(pool) ? atomic_load(&pool->refill_at) : TM__FOREVER;
}

void tm__pool_give_up(tm__pool *pool) {
  uint64_t now = tm__now();
  if (!is_stranded(pool)) return;
  if (now < atomic_load(&pool->died_at) + STRANDED_NS) return;
  atomic_store(&pool->died_at, now);
  tm__pool_fail_rest(pool, "all worker processes have ended, and the thread "
                           "that made the pool, which alone starts others, "
                           "did not come to that");
}

void tm__pool_refill(tm__pool *pool) {
  tm_error e = {.text = ""};
  if (!tm__pool_wants_refill(pool)) return;
  if (pool->kind->forks) tm__monitor_hold(&pool->rt->monitor);
  pthread_mutex_lock(&pool->roster);
  bool needed = !tm__pool_ended(pool);
  if (needed && too_many_stillborn(pool, &e)) tm__pool_break(pool, &e);
  int live = needed ? fill_places(pool, &e) : 1;
  if (atomic_load(&pool->dead))
    atomic_store(&pool->refill_at, tm__now() + REFILL_NS);
  pthread_mutex_unlock(&pool->roster);
  if (pool->kind->forks) tm__monitor_release(&pool->rt->monitor);
  if (!live) tm__pool_fail_rest(pool, pool->broken ? pool->fault.text : e.text);
}
