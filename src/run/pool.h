/*
 * pool.h: jobs in, results out; the pool exists once for all kinds
 *
 * A pool has workers, a queue of jobs and a state. Workers take the first
 * job in the queue that has something to claim; a job leaves the queue when
 * nothing of it can be claimed any more.
 *
 *   OPEN -> CLOSED (no more jobs; workers end when the queue is empty)
 *        -> TERMINATED (jobs are cancelled; workers end at once)
 *
 * A pool whose workers cannot be opened (the initializer fails) is broken:
 * it takes jobs and fails their items with the reason.
 *
 * Locks, outermost first: monitor.lock, pool.roster, worker.lock, pool.lock.
 */
#ifndef TM_RUN_POOL_H
#define TM_RUN_POOL_H

#include <pthread.h>

#include "run/hub.h"
#include "run/worker.h"

enum tm__pool_state { TM__OPEN, TM__CLOSED, TM__TERMINATED };

/* Whether thread workers get a CPU each: never, always, or when there are
   as many workers as CPUs in the mask and no quota binds. */
enum tm__pin_policy { TM__PIN_NO, TM__PIN_YES, TM__PIN_AUTO };

typedef struct tm__pool_options {
  const tm__worker_kind *kind;
  const tm__guest *guest;
  void *guest_user;     /* for the guest; taken over on success only */
  int workers;          /* at least 1; processes: at most TM__RUN_WORKERS */
  uint64_t max_items;   /* a worker's state serves; 0: no limit */
  size_t max_memory;    /* bytes its state may keep; 0: no limit */
  int pin;              /* enum tm__pin_policy */
  tm__msg *initializer; /* taken over; may be NULL */
} tm__pool_options;

/* Where the memory of a pool of a kind comes from, with its initializer. */
const tm__mem *tm__pool_memory(tm_runtime *rt, const tm__worker_kind *kind);

struct tm__pool {
  _Atomic uint32_t refs;
  int32_t pid;     /* of the process that made it: to others it is inert */
  pthread_t maker; /* the thread: only it forks workers */
  tm__hub *hub;    /* of processes; NULL: threads or the caller */
  tm__bell *bell;  /* the hub's, or `own` */
  tm__bell own;
  struct tm__spawner *spawner; /* of processes that are spawned */
  tm_runtime *rt;              /* a reference */
  const tm__mem *mem;
  const tm__worker_kind *kind;
  const tm__guest *guest;
  void *guest_user;
  tm__msg *initializer;
  uint64_t max_items;
  size_t max_memory;
  bool pinned;
  int pin_first; /* index of the CPU of worker 0: the next after its maker's,
                    so that it begins at once */
  _Atomic int caller;    /* the CPU that jobs came from last; of pinned pools */
  _Atomic uint64_t near; /* tm__now_coarse() until which the worker pinned there
                            is called first: another's CPU was not free */
  int nworkers;

  /* Guards workers[]: an abandoned one is replaced, or its place is left
     empty when that fails; then the monitor tries again. Who takes one from
     its place joins and frees it. A process that died stays in its place,
     `exited`, until the script's thread fills it again. */
  pthread_mutex_t roster;
  tm__worker **workers;
  int missing;      /* places to be filled again */
  _Atomic int dead; /* processes to be replaced by the script's thread */
  _Atomic uint64_t died_at;   /* tm__now() when the last of them ended */
  _Atomic uint64_t refill_at; /* tm__now() before which there is no use */
  int stillborn;              /* processes in a row that died as they opened */
  char last_words[400];       /* how the last of them ended */
  _Atomic uint64_t deaths;    /* processes, ever */
  _Atomic int doubtful;  /* jobs in the ring have items that are settled and
                            perhaps not counted */
  _Atomic uint32_t ends; /* futex: grows when a worker ends */
  _Atomic bool joined;
  _Atomic int blocked; /* workers, threads, that wait for jobs of others */

  pthread_mutex_t lock; /* guards what follows, and again in jobs */
  bool broken;
  tm_error fault;       /* written once, before broken */
  tm__job *head, *tail; /* the queue, or what has no place in the hub's ring;
                           a reference to each */
  tm__job *retired;     /* by queued_next: nobody's but a seat holds them */

  /* Their lengths, written with the lock held, for a look without it. */
  _Atomic uint32_t nqueued, nretired;

  struct tm__region *region; /* region.h; NULL: the caller works alone */

  struct tm__pool *retired_next; /* in the runtime; its lock */
  struct tm__pool *watched_next; /* in the monitor; its lock */
  bool watched;
  uint64_t shortest; /* ns: the shortest time limit seen; monitor.lock */
};

/* Makes a pool and starts its workers. *out has one reference. */
int tm__pool_new(tm__pool **out, tm_runtime *rt,
                 const tm__pool_options *options, tm_error *e);

tm__pool *tm__pool_ref(tm__pool *pool);

/* The last reference frees it: it must have been joined. */
void tm__pool_unref(tm__pool *pool);

/* The sleepers, as tm__futex_wake_some has them, that are not pinned to a CPU:
   there they would only take the time of who runs on it, and calls them. */
uint32_t tm__pool_welcome(tm__pool *pool, int cpu);

/* Whether who waits for a job might have to call a worker that is pinned to his
   own CPU, since none of those that were called has come; and does so. */
bool tm__pool_may_call_near(tm__pool *pool, tm__job *job);
void tm__pool_call_near(tm__pool *pool);

/* Whether such a worker should be at hand. */
bool tm__pool_is_near(tm__pool *pool);

/* Takes a job. TM_ECLOSED when the pool takes no more; a worker of the pool
   itself may submit until it is terminated. */
int tm__pool_submit(tm__pool *pool, tm__job *job, tm_error *e);

/* Tells workers that there is something to claim in a job. */
void tm__pool_announce(tm__pool *pool, tm__job *job);

/* Takes a job out of the queue. True when it was there: the queue's reference
   is the caller's. A worker process leaves that to the script's. */
bool tm__pool_unlink(tm__pool *pool, tm__job *job);

/* A job of a process pool that has no reference left: true when no worker
   looks at it either, so that the caller frees it. Else it is freed later. */
bool tm__pool_retire(tm__pool *pool, tm__job *job);

/* In the script's process: sees to jobs that are done and to those that wait
   for a place in the ring. */
void tm__pool_sweep(tm__pool *pool);

/* In the monitor: ends jobs that are over and that nobody waits for, who would
   see it. Whether some are still in doubt. */
bool tm__pool_audit(tm__pool *pool);

/* Replaces processes that ended too early; does nothing on a thread that may
   not start one. When none can be started, what is left fails. */
void tm__pool_refill(tm__pool *pool);

/* For a thread that waits for a pool which has no worker left, and which it may
   not refill: when the thread that may has not done so for a second, what is
   left fails. */
void tm__pool_give_up(tm__pool *pool);

/* Whether this thread would have something to do in tm__pool_refill, now; and
   when to look again whether it has, or to give up; TM__FOREVER: somebody will
   tell. */
bool tm__pool_wants_refill(tm__pool *pool);
uint64_t tm__pool_refill_at(tm__pool *pool);

/* Wakes whoever waits for jobs of a pool of processes, to look again. */
void tm__pool_tell(tm__pool *pool);

/* Whether one more may spin without keeping another from a CPU. */
bool tm__pool_may_spin(tm__pool *pool);

/* Whether jobs wait for what workers do not tell of: a place in the ring, the
   last look of a worker. */
bool tm__pool_lingers(tm__pool *pool);

/* Whether anything is left to do in a pool that is not open. */
bool tm__pool_ended(tm__pool *pool);

/* Forgets a job that has nothing more to claim. */
void tm__pool_dismiss(tm__pool *pool, tm__job *job);

/* Wakes the workers that sleep, to look at jobs and at the pool's state. */
void tm__pool_wake_all(tm__pool *pool);

/* For a worker that spun, and whom submitters counted on while it has something
   else to do: wakes another, unless one spins. */
void tm__pool_pass_on(tm__pool *pool);

/* For workers: a job with something to claim (a reference), NULL when there
   is none now, TM_ECLOSED when there never will be. */
int tm__pool_next(tm__pool *pool, tm__job **out);

/* The calling thread, which is that of w or w's own, runs what can be claimed
   of a job as the worker w. */
void tm__pool_help(tm__worker *w, tm__job *job);

typedef bool (*tm__ready_fn)(tm__job *job, void *argument);

/*
 * Waits until ready(job, argument). When a worker of the job's pool runs on
 * this thread, it helps. When all workers of self's pool wait for other pools,
 * which may wait for theirs, self goes on with what its own pool has. self is
 * the worker whose state waits, or NULL for a script's. TM_OK; TM_ETIMEOUT
 * after `timeout` ns; TM_ECANCELLED when what runs here is to unwind, or,
 * without self, when a signal came.
 */
int tm__pool_wait(tm__job *job, tm__worker *self, tm__ready_fn ready,
                  void *argument, uint64_t timeout);

/* Stops a job and interrupts the items of it that run. */
void tm__pool_cancel(tm__job *job, int kind);

void tm__pool_close(tm__pool *pool);
void tm__pool_terminate(tm__pool *pool);
int tm__pool_state_of(tm__pool *pool);

/* Waits for the workers of a closed or terminated pool to end. `stop` is
   asked now and then whether to give up (TM_ECANCELLED); may be NULL. After
   terminate, a worker that does not come back from C code is left behind. */
int tm__pool_join(tm__pool *pool, bool (*stop)(void *), void *argument);

/* Fails, with a text, what no worker is left to run. */
void tm__pool_fail_rest(tm__pool *pool, const char *text);

/* Marks a pool broken. */
void tm__pool_break(tm__pool *pool, const tm_error *why);

/* Replaces a worker that was abandoned. roster is held. */
void tm__pool_replace(tm__pool *pool, int index);

#endif
