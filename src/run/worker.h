/*
 * worker.h: a worker is a worker
 *
 * Inline, thread and process workers run the same loop over the same jobs
 * (worker.c); what differs is a tm__worker_kind: how one is born, how it is
 * interrupted, how its end is awaited. A process has a tm__worker on both
 * sides: its own, and its parent's, which stands for it.
 *
 * The monitor and whoever cancels look at a worker from other threads: what
 * they read is atomic or guarded by `lock`. A worker that is stuck in C
 * code past its time is abandoned: `abandoned` is set under `lock`, its items
 * are settled for it, and when it comes back it touches nothing but itself.
 */
#ifndef TM_RUN_WORKER_H
#define TM_RUN_WORKER_H

#include <pthread.h>
#include <signal.h>

#include "base/platform.h"
#include "run/hub.h"

/* A job that a worker has prepared and not yet dropped. */
typedef struct tm__prepared {
  tm__job *job; /* a reference */
  void *context;
} tm__prepared;

struct tm__worker {
  tm__pool *pool;
  int index;       /* 0 .. workers - 1 */
  _Atomic int cpu; /* that it is pinned to, or -1 */
  uint64_t uid;    /* of its state */
  void *state;     /* the guest's; NULL before open and after close */
  tm__prepared *prepared;
  int nprepared, cap_prepared;
  uint64_t items; /* run since the state was opened */
  uint64_t until; /* tm__now() at which to leave a job; 0: when it is used up */
  struct tm__seat *seat; /* of a process, as its parent and it itself see it */
  int32_t pid;           /* of a process; 0: it was waited for */
  int pidfd;
  int doomed;         /* enum tm__kind for which it was sent a signal; lock */
  uint64_t doomed_at; /* tm__now() then; lock */

  /* Items of `tallied` that were published and not counted yet; looked at from
     outside when the worker is abandoned. */
  _Atomic uint64_t tally;
  tm__job *tallied;
  uint64_t tallied_at; /* tm__now_coarse() of the last count */

  bool short_of_memory; /* for a state: to be tried again */
  bool used_up;         /* a process: another is to take its seat */
  pthread_t thread;
  pthread_mutex_t lock;    /* guards what follows */
  tm__piece *piece;        /* the innermost that runs */
  tm__job *waiting;        /* whose tick the thread sleeps on, or may soon */
  bool alive;              /* thread may be signalled */
  bool opening;            /* runs the initializer */
  _Atomic bool abandoned;  /* read by its own thread without the lock */
  uint64_t expired;        /* tm__now() when the monitor first saw it late */
  uint64_t late;           /* of a process: the time limit that this is about */
  _Atomic uint32_t exited; /* 1 when the thread is about to end; lock */
};

typedef struct tm__worker_kind {
  const char *name;
  int (*start)(tm__worker *w, tm_error *e);
  void (*interrupt)(tm__worker *w); /* w->lock is held */
  void (*join)(tm__worker *w);      /* it has exited; NULL: nothing to do */
  bool runs_in_caller;              /* whoever waits does the work */
  bool process;                     /* has a seat in the pool's hub */
  bool forks;                       /* only the script's thread may start one */
} tm__worker_kind;

extern const tm__worker_kind tm__worker_thread;
extern const tm__worker_kind tm__worker_fork;
extern const tm__worker_kind tm__worker_spawn;
extern const tm__worker_kind tm__worker_inline;

/* The worker whose thread this is; NULL elsewhere. set answers the one that
   was set before. */
tm__worker *tm__worker_self(void);
tm__worker *tm__worker_set_self(tm__worker *w);

/* In a forked child: what ran on the thread that forked does not run here. */
void tm__worker_child(void);

/* The handler of the signal by which workers are interrupted (SIGURG), for
   runtimes that may use signals. Installed once in a process. */
int tm__worker_install_signal(tm_error *e);
#define TM__SIGNAL SIGURG

/* The worker of a pool that runs on this thread, perhaps below others; NULL
   when there is none. */
tm__worker *tm__worker_here(tm__pool *pool);

/* Opens the state; the pool is marked broken when that fails. */
bool tm__worker_open(tm__worker *w);

/* Closes the state and drops what was prepared. */
void tm__worker_close(tm__worker *w);

/* Works on a job until nothing of it can be claimed, or the worker is to
   unwind or was abandoned. On the worker's thread. */
void tm__worker_run(tm__worker *w, tm__job *job);

/* The context of a job in this worker, made by the first call: kept while more
   of the job may come, so that its functions keep their upvalues. NULL without
   memory. */
void *tm__worker_prepare(tm__worker *w, tm__job *job);

/* Drops it. */
void tm__worker_forget(tm__worker *w, tm__job *job);

/* Gives a worker that has served its time a fresh state. False when there is
   none: of a process the next one makes it. */
bool tm__worker_renew(tm__worker *w);

/* Drops prepared jobs that are done. */
void tm__worker_tidy(tm__worker *w);

/* Before it sleeps: the end of a job that it has prepared is to wake it.
   False when such a job has ended already. And when it does not sleep. */
bool tm__worker_rest(tm__worker *w);
void tm__worker_rise(tm__worker *w);

/* Asks the worker to look whether it should unwind. Any thread; for poke,
   w->lock is held. */
void tm__worker_interrupt(tm__worker *w);
void tm__worker_poke(tm__worker *w);

/* Notes that the item which runs on this thread submitted a job, to be
   cancelled with it. */
void tm__worker_adopt(tm__job *job);

/* Says to those that run on this thread that it waits for a job; NULL: no
   more. */
void tm__worker_set_waiting(tm__job *job);

/*
 * Whether what runs on this thread must be given up: -1 when all is well,
 * else the depth of the outermost piece that is cancelled or late (0: the
 * initializer of w), and why (enum tm__kind). On the thread of w.
 */
int tm__worker_unwind(tm__worker *w, int *kind);

/* Whether a piece that runs on this thread must be given up. */
bool tm__worker_must_unwind(void);

/* Gives up a worker that is stuck: fails the items that it runs, gives back
   those that it had claimed. w->lock is held; w may be gone after that. */
void tm__worker_abandon(tm__worker *w);

/* Takes jobs until the pool ends, or the worker is used up or abandoned. On
   its thread, with the state open. */
void tm__worker_serve(tm__worker *w);

/* A worker of a pool that is not started yet; NULL without memory. */
tm__worker *tm__worker_new(tm__pool *pool, int index);
void tm__worker_free(tm__worker *w);

/* Whether a piece has run so long that the rest should go to others, or
   they have it already. */
static inline bool tm__piece_over(const tm__piece *p) {
  /* relaxed: what the piece appends after that is thrown away under a lock */
  if (atomic_load_explicit(&p->worker->abandoned, memory_order_relaxed))
    return true;
  return p->until && tm__now_coarse() > p->until;
}

/* The record of item `next` is complete. */
static inline void tm__piece_advance(tm__piece *p) {
  /* relaxed: a reader of it has the worker's lock, or waits for the end */
  uint64_t next = atomic_load_explicit(&p->next, memory_order_relaxed) + 1;
  if (p->seat) tm__seat_advance(p, next);
  atomic_store_explicit(&p->next, next, memory_order_relaxed);
}

#endif
