#include "run/worker.h"

#include "run/batch.h"
#include "run/pool.h"
#include "run/runtime.h"

static void set_opening(tm__worker *w, bool opening) {
  pthread_mutex_lock(&w->lock);
  w->opening = opening;
  pthread_mutex_unlock(&w->lock);
}

bool tm__worker_open(tm__worker *w) {
  tm_error e = {.text = ""};
  w->uid = tm__runtime_uid(w->pool->rt);
  w->items = 0;
  set_opening(w, true);
  int status = w->pool->guest->open(w, &w->state, &e);
  set_opening(w, false);
  w->short_of_memory = status == TM_ENOMEM;
  if (status == TM_OK) return true;
  w->state = NULL;
  tm__pool_break(w->pool, &e);
  return false;
}

static void drop(tm__worker *w, int i) {
  tm__prepared p = w->prepared[i];
  w->prepared[i] = w->prepared[--w->nprepared];
  if (p.job->batch)
    tm__batch_leave(w, p.context);
  else
    w->pool->guest->leave(w, p.context);
  tm__job_unref(p.job);
}

void tm__worker_close(tm__worker *w) {
  while (w->nprepared) drop(w, w->nprepared - 1);
  tm__free(&w->pool->rt->mem, w->prepared);
  w->prepared = NULL;
  w->cap_prepared = 0;
  if (w->state) w->pool->guest->close(w, w->state);
  w->state = NULL;
}

void tm__worker_tidy(tm__worker *w) {
  for (int i = w->nprepared - 1; i >= 0; i--)
    if (tm__job_done(w->prepared[i].job)) drop(w, i);
}

bool tm__worker_rest(tm__worker *w) {
  bool live = true;
  for (int i = 0; i < w->nprepared; i++) {
    tm__job *job = w->prepared[i].job;
    atomic_fetch_add(&job->resting, 1); /* before we look whether it is done */
    if (tm__job_done(job)) live = false;
  }
  return live;
}

void tm__worker_rise(tm__worker *w) {
  for (int i = 0; i < w->nprepared; i++)
    atomic_fetch_sub(&w->prepared[i].job->resting, 1);
}

static bool room_for_prepared(tm__worker *w) {
  if (w->nprepared < w->cap_prepared) return true;
  int cap = w->cap_prepared * 2 + 4;
  tm__prepared *list =
      tm__realloc(&w->pool->rt->mem, w->prepared, (size_t)cap * sizeof *list);
  if (!list) return false;
  w->prepared = list;
  w->cap_prepared = cap;
  return true;
}

void *tm__worker_prepare(tm__worker *w, tm__job *job) {
  for (int i = 0; i < w->nprepared; i++)
    if (w->prepared[i].job == job) return w->prepared[i].context;
  tm__worker_tidy(w);
  if (!room_for_prepared(w)) return NULL;
  tm__seat_prepare(w, job);
  void *context =
      job->batch ? tm__batch_enter(w, job) : w->pool->guest->enter(w, job);
  if (!context) return NULL;
  w->prepared[w->nprepared++] =
      (tm__prepared){.job = tm__job_ref(job), .context = context};
  return context;
}

void tm__worker_forget(tm__worker *w, tm__job *job) {
  for (int i = 0; i < w->nprepared; i++)
    if (w->prepared[i].job == job) {
      drop(w, i);
      return;
    }
}

bool tm__worker_renew(tm__worker *w) {
  w->used_up = true;
  if (w->seat) return false;
  tm__worker_close(w);
  return tm__worker_open(w);
}

/* An inline worker has a thread while it runs something. */
void tm__worker_poke(tm__worker *w) {
  bool runs_in_caller = w->pool->kind->runs_in_caller;
  if (!w->piece && !w->opening) return;
  if (w->alive || runs_in_caller) w->pool->kind->interrupt(w);
  if (w->waiting) tm__job_tell(w->waiting);
}

void tm__worker_interrupt(tm__worker *w) {
  pthread_mutex_lock(&w->lock);
  tm__worker_poke(w);
  pthread_mutex_unlock(&w->lock);
}

tm__worker *tm__worker_new(tm__pool *pool, int index) {
  tm__worker *w = tm__calloc(&pool->rt->mem, 1, sizeof *w);
  if (!w) return NULL;
  w->pool = pool;
  w->index = index;
  atomic_init(&w->cpu, -1);
  pthread_mutex_init(&w->lock, NULL);
  return w;
}

void tm__worker_free(tm__worker *w) {
  if (!w) return;
  pthread_mutex_destroy(&w->lock);
  tm__free(&w->pool->rt->mem, w);
}
