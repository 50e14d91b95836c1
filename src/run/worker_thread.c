/*
 * worker_thread.c: the worker that is a thread of this process
 *
 * Its life: open the state, take jobs until the pool ends, close the state.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

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
  tm__mask mask;
  self = w;
  if (w->pool->pinned) {
    int index = w->pool->pin_first + w->index;
    tm__mask_nth(&mask, &w->pool->rt->mask, index);
    pin(w, &mask);
  }
  set_alive(w, true);
  tm__worker_open(w);
  tm__worker_serve(w);
  leave(w);
  return NULL;
}

static int start(tm__worker *w, tm_error *e) {
  sigset_t before;
  char name[32];
  snprintf(name, sizeof name, "tm-worker-%d", w->index + 1);
  atomic_fetch_add(&w->pool->rt->awake, 1);
  block_signals(&before);
  int error = tm__thread_start(&w->thread, name, main_of_thread, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) return TM_OK;
  atomic_fetch_sub(&w->pool->rt->awake, 1);
  return tm__fail(e, TM_ESYS, "cannot start worker thread %d: %s", w->index + 1,
                  "the system has no more threads");
}

static void interrupt(tm__worker *w) {
  if (w->pool->rt->flags & TM_USE_SIGNALS) pthread_kill(w->thread, TM__SIGNAL);
}

static void join(tm__worker *w) { pthread_join(w->thread, NULL); }

const tm__worker_kind tm__worker_thread = {
    .name = "thread", .start = start, .interrupt = interrupt, .join = join};
