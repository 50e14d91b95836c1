#include "run/monitor.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "run/inbox.h"
#include "run/pool.h"
#include "run/process.h"
#include "run/runtime.h"

/* How long a late worker may take to unwind before it is interrupted once
   more, and how often before it is abandoned. */
#define GRACE_NS 100000000u
#define ABANDON_NS (5 * (uint64_t)GRACE_NS)

/* It does not look more often than this. */
#define RESOLUTION_NS 1000000u

/* How often it looks at a pool of processes in which jobs wait for a place in
   the ring, or for a process of which it has no descriptor. */
#define TICK_NS 5000000u

static uint64_t earliest_deadline(const tm__worker *w) {
  uint64_t earliest = UINT64_MAX;
  if (w->seat) {
    uint64_t deadline = atomic_load(&w->seat->deadline);
    return deadline ? deadline : earliest;
  }
  for (const tm__piece *p = w->piece; p; p = p->outer)
    if (p->deadline && p->deadline < earliest) earliest = p->deadline;
  return earliest;
}

/* An empty place that is to be filled; answers when to look again. In a pool
   that is closed it may be one that a join has passed. */
static uint64_t fill_place(tm__pool *pool, int index, uint64_t now) {
  if (!pool->missing || tm__pool_state_of(pool) != TM__OPEN) return UINT64_MAX;
  pool->missing--;
  atomic_fetch_sub(&pool->bell->timed, 1);
  tm__pool_replace(pool, index);
  return now + GRACE_NS;
}

/* A worker that is late: asked, asked again, given up. Answers whether it is
   to be replaced by another thread. */
static bool hurry(tm__worker *w, uint64_t now) {
  if (!w->expired) w->expired = now;
  if (now - w->expired < ABANDON_NS) {
    if (w->seat)
      w->pool->kind->interrupt(w);
    else
      tm__worker_poke(w);
    return false;
  }
  if (w->pool->kind->runs_in_caller) return false;
  if (w->seat)
    tm__process_kill(w, TM__FAIL_TIMEOUT);
  else
    tm__worker_abandon(w);
  return !w->seat;
}

/* Looks at one worker; answers when to look again. */
static uint64_t watch_worker(tm__pool *pool, int index, uint64_t now) {
  tm__worker *w = pool->workers[index];
  bool replace = false;
  if (!w) return fill_place(pool, index, now);
  pthread_mutex_lock(&w->lock);
  uint64_t next = earliest_deadline(w);
  if (w->seat && w->late != next) {
    w->late = next; /* another item by now */
    w->expired = 0;
  }
  if (next <= now) {
    replace = hurry(w, now);
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

static uint64_t watch_limits(tm__pool *pool, uint64_t now) {
  uint64_t next = now + pool->shortest + RESOLUTION_NS;
  for (int i = 0; i < pool->nworkers; i++) {
    uint64_t at = watch_worker(pool, i, now);
    if (at < next) next = at;
  }
  return next;
}

/* ---- processes ---- */

static bool room_for_fd(tm__monitor *m) {
  if (m->nfds < m->cap_fds) return true;
  int cap = m->cap_fds * 2 + 16;
  struct pollfd *fds = tm__realloc(m->mem, m->fds, (size_t)cap * sizeof *fds);
  if (!fds) return false;
  m->fds = fds;
  m->cap_fds = cap;
  return true;
}

/* One that is waited for by its descriptor needs no more. */
static uint64_t watch_process(tm__monitor *m, tm__worker *w, uint64_t now) {
  if (!w || atomic_load(&w->exited) || tm__process_reap(w)) return UINT64_MAX;
  if (w->pidfd < 0 || !room_for_fd(m)) return now + TICK_NS;
  m->fds[m->nfds++] = (struct pollfd){.fd = w->pidfd, .events = POLLIN};
  return UINT64_MAX;
}

static uint64_t watch_processes(tm__monitor *m, tm__pool *pool, uint64_t now) {
  uint64_t next = UINT64_MAX;
  int dead = atomic_load(&pool->dead);
  for (int i = 0; i < pool->nworkers; i++) {
    uint64_t at = watch_process(m, pool->workers[i], now);
    if (at < next) next = at;
  }
  if (atomic_load(&pool->dead) != dead) tm__pool_tell(pool);
  return next;
}

static bool is_broken(tm__pool *pool) {
  pthread_mutex_lock(&pool->lock);
  bool broken = pool->broken;
  pthread_mutex_unlock(&pool->lock);
  return broken;
}

/* Workers that need no fork are started here. Those that the system refused
   are asked for again, and jobs that came to a pool without any are to fail:
   answers when. */
static uint64_t refill(tm__pool *pool, uint64_t now) {
  tm__pool_refill(pool);
  uint64_t at = atomic_load(&pool->refill_at);
  if (!atomic_load(&pool->dead) || at <= now) return UINT64_MAX;
  if (tm__pool_state_of(pool) != TM__OPEN) return UINT64_MAX;
  return is_broken(pool) && tm__hub_empty(pool->hub) ? UINT64_MAX : at;
}

static uint64_t watch_pool(tm__monitor *m, tm__pool *pool, uint64_t now) {
  uint64_t next = UINT64_MAX;
  pthread_mutex_lock(&pool->roster);
  if (pool->hub) next = watch_processes(m, pool, now);
  if (atomic_load(&pool->bell->timed)) {
    uint64_t at = watch_limits(pool, now);
    if (at < next) next = at;
  }
  pthread_mutex_unlock(&pool->roster);
  if (pool->hub) {
    uint64_t at = pool->kind->forks ? UINT64_MAX : refill(pool, now);
    if (at < next) next = at;
    bool doubtful = tm__pool_audit(pool);
    tm__pool_sweep(pool);
    if ((doubtful || tm__pool_lingers(pool)) && now + TICK_NS < next)
      next = now + TICK_NS;
  }
  return next;
}

/* ---- the thread ---- */

static int milliseconds(uint64_t ns) {
  uint64_t ms = ns / 1000000u + 1;
  return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void sleep_until(tm__monitor *m, uint64_t at) {
  uint64_t now = tm__now(), news;
  int ms = -1;
  if (at != UINT64_MAX) ms = at > now ? milliseconds(at - now) : 0;
  pthread_mutex_unlock(&m->lock);
  poll(m->fds, (nfds_t)m->nfds, ms);
  pthread_mutex_lock(&m->lock);
  if (read(m->news, &news, sizeof news) < 0) return; /* nothing new */
}

static _Thread_local bool here;

bool tm__monitor_here(void) { return here; }

static void *monitor_main(void *argument) {
  tm__monitor *m = argument;
  here = true;
  pthread_mutex_lock(&m->lock);
  m->up = true;
  pthread_cond_signal(&m->began);
  while (!m->ending) {
    uint64_t now = tm__now(), next = UINT64_MAX;
    m->nfds = 0;
    m->fds[m->nfds++] = (struct pollfd){.fd = m->news, .events = POLLIN};
    for (tm__pool *p = m->pools; p; p = p->watched_next) {
      uint64_t at = watch_pool(m, p, now);
      if (at < next) next = at;
    }
    tm__inboxes_tell(m->inboxes);
    sleep_until(m, next);
  }
  pthread_mutex_unlock(&m->lock);
  return NULL;
}

int tm__monitor_init(tm__monitor *m, const tm__mem *mem,
                     struct tm__inboxes *inboxes, tm_error *e) {
  *m = (tm__monitor){.news = -1, .mem = mem, .inboxes = inboxes};
  if (pthread_mutex_init(&m->lock, NULL))
    return tm__fail(e, TM_ESYS, "cannot make the monitor's lock");
  pthread_cond_init(&m->began, NULL);
  return TM_OK;
}

void tm__monitor_child(tm__monitor *m) {
  *m = (tm__monitor){.news = -1, .mem = m->mem, .inboxes = m->inboxes};
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->began, NULL);
}

void tm__monitor_hold(tm__monitor *m) { pthread_mutex_lock(&m->lock); }

void tm__monitor_release(tm__monitor *m) { pthread_mutex_unlock(&m->lock); }

void tm__monitor_wake(tm__monitor *m) {
  uint64_t one = 1;
  if (m->news >= 0 && write(m->news, &one, sizeof one) < 0)
    return; /* it is full: the thread has enough to wake for */
}

void tm__monitor_term(tm__monitor *m) {
  pthread_mutex_lock(&m->lock);
  bool running = m->running;
  m->ending = true;
  tm__monitor_wake(m);
  pthread_mutex_unlock(&m->lock);
  if (running) pthread_join(m->thread, NULL);
  if (m->news >= 0) close(m->news);
  tm__free(m->mem, m->fds);
  pthread_cond_destroy(&m->began);
  pthread_mutex_destroy(&m->lock);
}

/* Everything that may fail, before the thread. What a thread does before its
   first line (a checker of addresses allocates there) is over afterwards. */
static int start(tm__monitor *m, tm_error *e) {
  sigset_t all, before;
  if (m->running) return TM_OK;
  if (!room_for_fd(m))
    return tm__fail(e, TM_ENOMEM, "not enough memory for the monitor");
  if (m->news < 0) m->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (m->news < 0) return tm__fail_errno(e, "cannot make an eventfd");
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = tm__thread_start(&m->thread, "tm-monitor", monitor_main, m);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  m->running = error == 0;
  if (error)
    return tm__fail(e, TM_ESYS, "cannot start the thread for time limits");
  while (!m->up) pthread_cond_wait(&m->began, &m->lock);
  return TM_OK;
}

static void watch(tm__monitor *m, tm__pool *pool) {
  if (pool->watched) return;
  pool->watched = true;
  pool->watched_next = m->pools;
  m->pools = pool;
}

int tm__monitor_watch(tm__monitor *m, tm__pool *pool, tm_error *e) {
  pthread_mutex_lock(&m->lock);
  int status = start(m, e);
  if (status == TM_OK) watch(m, pool);
  tm__monitor_wake(m);
  pthread_mutex_unlock(&m->lock);
  return status;
}

int tm__monitor_limit(tm__monitor *m, tm__pool *pool, uint64_t limit,
                      tm_error *e) {
  pthread_mutex_lock(&m->lock);
  int status = start(m, e);
  if (status == TM_OK) {
    watch(m, pool);
    if (!atomic_fetch_add(&pool->bell->timed, 1) || limit < pool->shortest)
      pool->shortest = limit;
    tm__monitor_wake(m);
  }
  pthread_mutex_unlock(&m->lock);
  return status;
}

/* A pool that wants it, with a reference; NULL. */
static tm__pool *find_short(tm__monitor *m) {
  pthread_mutex_lock(&m->lock);
  tm__pool *pool = m->pools;
  while (pool && !tm__pool_wants_refill(pool)) pool = pool->watched_next;
  if (pool) tm__pool_ref(pool);
  pthread_mutex_unlock(&m->lock);
  return pool;
}

/* Not with the lock: a fork takes others. A pool that cannot be refilled now
   does not want it again at once. */
void tm__monitor_refill(tm__monitor *m) {
  tm__pool *pool;
  while ((pool = find_short(m))) {
    tm__pool_refill(pool);
    tm__pool_unref(pool);
  }
}

void tm__monitor_each(tm__monitor *m, void (*visit)(tm__pool *, const void *),
                      const void *argument) {
  pthread_mutex_lock(&m->lock);
  for (tm__pool *p = m->pools; p; p = p->watched_next) visit(p, argument);
  pthread_mutex_unlock(&m->lock);
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
