/*
 * piece.c: the pieces that run on a thread, one inside another
 */
#include "run/piece.h"

#include "run/pool.h"

/* The innermost piece on this thread, of whichever worker. */
static _Thread_local tm__piece *innermost;

void tm__worker_child(void) { innermost = NULL; }

/* A process's pieces are seen by its own thread alone: who looks from outside
   looks at its seat. */
void tm__piece_lock(tm__worker *w) {
  if (!w->seat) pthread_mutex_lock(&w->lock);
}

void tm__piece_unlock(tm__worker *w) {
  if (!w->seat) pthread_mutex_unlock(&w->lock);
}

void tm__piece_push(tm__piece *p) {
  tm__worker *w = p->worker;
  p->below = innermost;
  p->depth = innermost ? innermost->depth + 1 : 1;
  innermost = p;
  tm__piece_lock(w);
  p->outer = w->piece;
  w->piece = p;
  tm__piece_unlock(w);
}

void tm__piece_pop(tm__piece *p) {
  tm__worker *w = p->worker;
  innermost = p->below;
  tm__piece_lock(w);
  w->piece = p->outer;
  tm__piece_unlock(w);
}

/* Whoever terminates the pool writes its state before it looks at pieces. */
void tm__piece_show(tm__piece *p, const tm__claim *claim, uint64_t last,
                    uint64_t deadline) {
  tm__worker *w = p->worker;
  tm__piece_lock(w);
  p->first = claim->first;
  p->last = last;
  /* relaxed: who reads it has the lock */
  atomic_store_explicit(&p->next, claim->first, memory_order_relaxed);
  p->claim_last = claim->last;
  p->tries = claim->tries;
  p->deadline = deadline;
  p->shown = true;
  w->expired = 0;
  tm__piece_unlock(w);
  if (tm__pool_state_of(w->pool) == TM__TERMINATED)
    tm__job_stop(p->job, TM__FAIL_CANCELLED);
}

bool tm__piece_hide(tm__piece *p) {
  tm__worker *w = p->worker;
  tm__piece_lock(w);
  p->shown = false;
  p->deadline = 0;
  w->expired = 0;
  /* relaxed: it is set under the lock, where there is one */
  bool ours = !atomic_load_explicit(&w->abandoned, memory_order_relaxed);
  tm__piece_unlock(w);
  return ours;
}

/* ---- what the items submitted ---- */

void tm__worker_adopt(tm__job *job) {
  tm__piece *p = innermost;
  if (!p) return;
  while (p->children && tm__job_done(p->children)) {
    tm__job *done = p->children;
    p->children = done->sibling;
    tm__job_unref(done);
  }
  job->sibling = p->children;
  p->children = tm__job_ref(job);
}

void tm__piece_release_children(tm__piece *p) {
  bool given_up = p->children && tm__worker_must_unwind();
  while (p->children) {
    tm__job *job = p->children;
    p->children = job->sibling;
    if (given_up && !tm__job_done(job))
      tm__pool_cancel(job, TM__FAIL_CANCELLED);
    tm__job_unref(job);
  }
}

/* ---- what runs on this thread ---- */

void tm__worker_set_waiting(tm__job *job) {
  for (tm__piece *p = innermost; p; p = p->below) {
    pthread_mutex_lock(&p->worker->lock);
    p->worker->waiting = job;
    pthread_mutex_unlock(&p->worker->lock);
  }
}

tm__worker *tm__worker_here(tm__pool *pool) {
  for (tm__piece *p = innermost; p; p = p->below)
    if (p->worker->pool == pool) return p->worker;
  return NULL;
}

int tm__worker_unwind(tm__worker *w, int *kind) {
  int depth = -1;
  for (tm__piece *p = innermost; p; p = p->below) {
    uint32_t why = atomic_load(&p->job->cancelled);
    if (!why && atomic_load(&p->worker->abandoned)) why = TM__FAIL_TIMEOUT;
    if (!why && p->deadline && tm__now() >= p->deadline) why = TM__FAIL_TIMEOUT;
    if (why) {
      depth = p->depth;
      *kind = (int)why;
    }
  }
  if (depth >= 0 || !w || !w->opening) return depth;
  *kind = TM__FAIL_CANCELLED;
  return tm__pool_state_of(w->pool) == TM__TERMINATED ? 0 : -1;
}

bool tm__worker_must_unwind(void) {
  int kind;
  return innermost && tm__worker_unwind(NULL, &kind) >= 0;
}
