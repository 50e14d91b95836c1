/*
 * worker_thread.c: the worker that is a thread of this process
 *
 * Its life: open the state, take jobs until the pool ends, close the state.
 * Between jobs it spins for about as long as a wake-up costs, unless there are
 * more runnable threads than CPUs, then sleeps on the pool's epoch.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "run/region.h"
#include "run/runtime.h"
#include "run/worker.h"

static _Thread_local tm__worker *self;

tm__worker *tm__worker_self(void) { return self; }

tm__worker *tm__worker_set_self(tm__worker *w) {
  tm__worker *before = self;
  self = w;
  return before;
}

static void on_signal(int number) {
  (void)number;
  tm__worker *w = self;
  if (w && w->state) w->pool->guest->interrupt(w);
}

int tm__worker_install_signal(tm_error *e) {
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&action.sa_mask);
  if (sigaction(TM__SIGNAL, &action, NULL) == 0) return TM_OK;
  return tm__fail_errno(e, "cannot handle SIGURG");
}

/* Threads of a pool leave every signal but ours to the script's thread. */
static void block_signals(sigset_t *before) {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, TM__SIGNAL);
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGFPE);
  sigdelset(&all, SIGILL);
  sigdelset(&all, SIGABRT);
  pthread_sigmask(SIG_SETMASK, &all, before);
}

/* Works in the pool's region, when there is one that needs this worker. */
static bool attend(tm__worker *w) {
  tm__region *r = w->pool->region;
  return r && tm__region_open(r) && tm__region_join(r, w);
}

/* While it works in a region, a worker does not count as one that spins. */
static bool attend_spinning(tm__worker *w) {
  tm__region *r = w->pool->region;
  if (!r || !tm__region_open(r)) return false;
  atomic_fetch_sub(&w->pool->spinners, 1);
  bool attended = tm__region_join(r, w);
  atomic_fetch_add(&w->pool->spinners, 1);
  return attended;
}

static bool spin(tm__worker *w, uint32_t seen) {
  tm__pool *pool = w->pool;
  tm_runtime *rt = pool->rt;
  if (!tm__runtime_may_spin(rt)) return false;
  atomic_fetch_add(&pool->spinners, 1);
  uint64_t until = tm__now() + TM__SPIN_NS;
  bool news = false;
  do {
    for (int i = 0; i < 64 && !news; i++) {
      tm__relax();
      if (attend_spinning(w)) until = tm__now() + TM__SPIN_NS;
      news = atomic_load(&pool->epoch) != seen;
    }
    if (!news) sched_yield(); /* who submits may be queued on this CPU */
  } while (!news && tm__runtime_may_spin(rt) && tm__now() < until);
  atomic_fetch_sub(&pool->spinners, 1);
  return news;
}

static bool called(tm__worker *w) {
  tm__region *r = w->pool->region;
  return r && tm__region_calls(r, w);
}

/* Waits until the epoch is not `seen`, or a region is open. A submitter raises
   the epoch before it looks at sleepers, we count ourselves before we look at
   the epoch. */
static void idle(tm__worker *w, uint32_t seen) {
  tm__pool *pool = w->pool;
  if (spin(w, seen)) return;
  atomic_fetch_add(&pool->sleepers, 1);
  if (atomic_load(&pool->epoch) == seen && !called(w)) {
    atomic_fetch_sub(&pool->rt->awake, 1);
    tm__futex_wait_as(&pool->epoch, seen, tm__region_bit(w));
    atomic_fetch_add(&pool->rt->awake, 1);
  }
  atomic_fetch_sub(&pool->sleepers, 1);
}

/* pool->fault does not change once it was written, which was before this
   worker was without a state. */
static void fail_job(tm__pool *pool, tm__job *job) {
  tm__claim claim;
  while (tm__job_claim(job, 1, pool->nworkers, &claim)) {
    if (tm__job_skips(job, claim.first))
      tm__job_publish(job, NULL, claim.first, 0, 1);
    else
      tm__job_publish_failure(job, claim.first, TM__FAIL_TASK,
                              pool->fault.text);
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
    fail_job(w->pool, job);
  tm__job_unref(job);
}

static void nap(tm__worker *w, uint32_t seen) {
  tm__worker_tidy(w);
  if (tm__worker_rest(w)) idle(w, seen);
  tm__worker_rise(w);
}

/* The first worker to see that the pool ends tells the others. */
static void serve(tm__worker *w) {
  tm__pool *pool = w->pool;
  while (!gone(w)) {
    uint32_t seen = atomic_load(&pool->epoch);
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

static void set_alive(tm__worker *w, bool alive) {
  pthread_mutex_lock(&w->lock);
  w->alive = alive;
  pthread_mutex_unlock(&w->lock);
}

/* False when the worker was abandoned: nobody waits for it. */
static bool set_exited(tm__worker *w) {
  pthread_mutex_lock(&w->lock);
  bool awaited = !w->abandoned;
  if (awaited) atomic_store(&w->exited, 1);
  pthread_mutex_unlock(&w->lock);
  return awaited;
}

/* An abandoned worker belongs to nobody but itself. Who awaits another joins
   its thread before freeing anything. */
static void leave(tm__worker *w) {
  tm__pool *pool = w->pool;
  set_alive(w, false);
  tm__worker_close(w);
  self = NULL;
  atomic_fetch_sub(&pool->rt->awake, 1);
  if (set_exited(w)) {
    atomic_fetch_add(&pool->ends, 1);
    tm__futex_wake(&pool->ends, INT32_MAX, false);
  } else {
    tm__worker_free(w);
    tm__pool_unref(pool);
  }
}

/* Where the system refuses, the worker runs anywhere. */
static void pin(tm__worker *w, const tm__mask *mask) {
  tm__mask now;
  tm__mask_set(mask);
  tm__mask_get(&now);
  if (memcmp(&now, mask, sizeof now) == 0) atomic_store(&w->cpu, tm__cpu());
}

static void *main_of_thread(void *argument) {
  tm__worker *w = argument;
  char name[32];
  tm__mask mask;
  self = w;
  snprintf(name, sizeof name, "tm-worker-%d", w->index + 1);
  tm__thread_name(name);
  if (w->pool->pinned) {
    tm__mask_nth(&mask, &w->pool->rt->mask, w->index);
    pin(w, &mask);
  }
  set_alive(w, true);
  tm__worker_open(w);
  serve(w);
  leave(w);
  return NULL;
}

static int start(tm__worker *w, tm_error *e) {
  sigset_t before;
  atomic_fetch_add(&w->pool->rt->awake, 1);
  block_signals(&before);
  int error = pthread_create(&w->thread, NULL, main_of_thread, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) return TM_OK;
  atomic_fetch_sub(&w->pool->rt->awake, 1);
  return tm__fail(e, TM_ESYS, "cannot start worker thread %d: %s", w->index + 1,
                  "the system has no more threads");
}

static void interrupt(tm__worker *w) {
  if (w->pool->rt->flags & TM_USE_SIGNALS) pthread_kill(w->thread, TM__SIGNAL);
}

const tm__worker_kind tm__worker_thread = {
    .name = "thread", .start = start, .interrupt = interrupt};
