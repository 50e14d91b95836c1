#include "run/monitor.h"

#include <time.h>

#include "run/pool.h"
#include "run/runtime.h"

/* How long a late worker may take to unwind before it is interrupted once
   more, and how often before it is abandoned. */
#define GRACE_NS 100000000u
#define ABANDON_NS (5 * (uint64_t)GRACE_NS)

/* It does not look more often than this. */
#define RESOLUTION_NS 1000000u

static uint64_t earliest_deadline(const tm__worker *w) {
  uint64_t earliest = UINT64_MAX;
  for (const tm__piece *p = w->piece; p; p = p->outer)
    if (p->deadline && p->deadline < earliest) earliest = p->deadline;
  return earliest;
}

/* An empty place that is to be filled; answers when to look again. In a pool
   that is closed it may be one that a join has passed. */
static uint64_t fill_place(tm__pool *pool, int index, uint64_t now) {
  if (!pool->missing || tm__pool_state_of(pool) != TM__OPEN) return UINT64_MAX;
  pool->missing--;
  atomic_fetch_sub(&pool->timed, 1);
  tm__pool_replace(pool, index);
  return now + GRACE_NS;
}

/* Looks at one worker; answers when to look again. */
static uint64_t watch_worker(tm__pool *pool, int index, uint64_t now) {
  tm__worker *w = pool->workers[index];
  bool replace = false;
  if (!w) return fill_place(pool, index, now);
  pthread_mutex_lock(&w->lock);
  uint64_t next = earliest_deadline(w);
  if (next <= now) {
    if (!w->expired) w->expired = now;
    replace = !pool->kind->runs_in_caller && now - w->expired >= ABANDON_NS;
    if (replace)
      tm__worker_abandon(w);
    else
      tm__worker_poke(w);
    next = now + GRACE_NS;
  }
  pthread_t thread = w->thread;
  pthread_mutex_unlock(&w->lock);
  if (replace) {
    pthread_detach(thread);
    tm__pool_replace(pool, index);
  }
  return next;
}

static uint64_t watch_pool(tm__pool *pool, uint64_t now) {
  uint64_t next = now + pool->shortest + RESOLUTION_NS;
  pthread_mutex_lock(&pool->roster);
  for (int i = 0; i < pool->nworkers; i++) {
    uint64_t at = watch_worker(pool, i, now);
    if (at < next) next = at;
  }
  pthread_mutex_unlock(&pool->roster);
  return next;
}

static void sleep_until(tm__monitor *m, uint64_t at) {
  if (at == UINT64_MAX) {
    pthread_cond_wait(&m->news, &m->lock);
    return;
  }
  struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
                       .tv_nsec = (long)(at % 1000000000u)};
  pthread_cond_timedwait(&m->news, &m->lock, &t);
}

static void *monitor_main(void *argument) {
  tm__monitor *m = argument;
  tm__thread_name("tm-monitor");
  pthread_mutex_lock(&m->lock);
  while (!m->ending) {
    uint64_t now = tm__now(), next = UINT64_MAX;
    for (tm__pool *p = m->pools; p; p = p->watched_next) {
      if (!atomic_load(&p->timed)) continue;
      uint64_t at = watch_pool(p, now);
      if (at < next) next = at;
    }
    sleep_until(m, next);
  }
  pthread_mutex_unlock(&m->lock);
  return NULL;
}

int tm__monitor_init(tm__monitor *m, tm_error *e) {
  pthread_condattr_t clock;
  *m = (tm__monitor){0};
  if (pthread_mutex_init(&m->lock, NULL))
    return tm__fail(e, TM_ESYS, "cannot make the monitor's lock");
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  int error = pthread_cond_init(&m->news, &clock);
  pthread_condattr_destroy(&clock);
  if (!error) return TM_OK;
  pthread_mutex_destroy(&m->lock);
  return tm__fail(e, TM_ESYS, "cannot make the monitor's condition");
}

void tm__monitor_term(tm__monitor *m) {
  pthread_mutex_lock(&m->lock);
  bool running = m->running;
  m->ending = true;
  pthread_cond_signal(&m->news);
  pthread_mutex_unlock(&m->lock);
  if (running) pthread_join(m->thread, NULL);
  pthread_cond_destroy(&m->news);
  pthread_mutex_destroy(&m->lock);
}

static int start(tm__monitor *m, tm_error *e) {
  sigset_t all, before;
  if (m->running) return TM_OK;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&m->thread, NULL, monitor_main, m);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  m->running = error == 0;
  if (m->running) return TM_OK;
  return tm__fail(e, TM_ESYS, "cannot start the thread for time limits");
}

int tm__monitor_watch(tm__monitor *m, tm__pool *pool, uint64_t limit,
                      tm_error *e) {
  pthread_mutex_lock(&m->lock);
  int status = start(m, e);
  if (status) goto out;
  if (!pool->watched) {
    pool->watched = true;
    pool->shortest = limit;
    pool->watched_next = m->pools;
    m->pools = pool;
  }
  if (!atomic_fetch_add(&pool->timed, 1) || limit < pool->shortest)
    pool->shortest = limit;
  pthread_cond_signal(&m->news);
out:
  pthread_mutex_unlock(&m->lock);
  return status;
}

void tm__monitor_forget(tm__monitor *m, tm__pool *pool) {
  pthread_mutex_lock(&m->lock);
  for (tm__pool **at = &m->pools; *at; at = &(*at)->watched_next)
    if (*at == pool) {
      *at = pool->watched_next;
      break;
    }
  pool->watched = false;
  pthread_mutex_unlock(&m->lock);
}
