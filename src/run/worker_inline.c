/*
 * worker_inline.c: the worker that is the caller itself (FakePool)
 *
 * It has no thread: whoever waits for a job, or submits one, runs it with
 * tm__pool_help. Its state is the caller's own, set by the guest.
 */
#include "run/pool.h"
#include "run/runtime.h"
#include "run/worker.h"

static int start(tm__worker *w, tm_error *e) {
  (void)e;
  w->thread = pthread_self();
  return TM_OK;
}

static void interrupt(tm__worker *w) {
  if (w->pool->rt->flags & TM_USE_SIGNALS) pthread_kill(w->thread, TM__SIGNAL);
}

const tm__worker_kind tm__worker_inline = {.name = "fake",
                                           .start = start,
                                           .interrupt = interrupt,
                                           .runs_in_caller = true};
