/*
 * runtime.h: what everything hangs from
 *
 * A runtime owns the allocator, the log, the arena, the store, the monitor
 * and the shared pools. It is counted: the host has one reference, every
 * Lua state, pool and job that could outlive it another.
 */
#ifndef TM_RUN_RUNTIME_H
#define TM_RUN_RUNTIME_H

#include "base/log.h"
#include "base/platform.h"
#include "run/inbox.h"
#include "run/kernel.h"
#include "run/monitor.h"
#include "run/pool.h"
#include "store/maps.h"

/* The kinds of shared pool; also indices into tm_runtime.shared. */
enum tm__shared { TM__SHARED_THREAD, TM__SHARED_PROCESS, TM__SHARED_COUNT };

/* What every process of the runtime draws numbers from, and what they have of
   its log; in the arena. */
typedef struct tm__numbers {
  _Atomic uint64_t uid; /* of states, never 0 */
  _Atomic uint64_t job;
  tm__log_shared log;
} tm__numbers;

/* A pool of the host's own: it ends with the runtime, if not before. */
typedef struct tm__owned {
  struct tm__owned *next;   /* in the runtime; its lock */
  bool listed;              /* its lock */
  tm__pool *pool;           /* a reference of the owner's */
  _Atomic uint32_t stopped; /* 0, or the enum tm__kind that says why */
} tm__owned;

struct tm_runtime {
  _Atomic uint32_t refs;
  int32_t pid; /* of the process whose it is */
  tm__mem mem;
  tm__log log;
  tm__arena *arena;
  tm__store *store;
  tm__maps maps; /* of files, for arrays */
  tm__monitor monitor;
  tm__kernels kernels;
  tm__inboxes inboxes;
  _Atomic(tm__inbox *) inbox; /* of the host's own jobs; NULL: none yet */
  tm__cpus cpus;
  tm__mask mask; /* of the thread that made the runtime */
  unsigned flags;
  tm_state_fn on_state; /* the host's; NULL: none */
  void *on_state_user;
  _Atomic int start_method; /* enum tm_start_method */
  _Atomic int threads;      /* workers of the shared thread pool */
  _Atomic int processes;    /* and of a pool of processes */
  _Atomic int pin;          /* enum tm__pin_policy */

  /* Threads of ours, and script threads, that are not asleep. More than
     CPUs: nobody spins. */
  _Atomic int awake;
  tm__numbers *numbers;
  _Atomic int interrupted; /* the command's SIGINT was seen */

  _Atomic bool closed;    /* by the host: no more pools; written under lock */
  pthread_mutex_t making; /* one shared pool at a time; before all locks */
  pthread_mutex_t lock;   /* guards what follows */
  tm__owned *owned;
  char *log_file;    /* its path; NULL: none */
  char *command;     /* of spawned workers; NULL: to be found */
  tm__msg *settings; /* the config in force, encoded; NULL: defaults */
  tm__pool *shared[TM__SHARED_COUNT];
  tm__pool *retired; /* shared pools that were closed and replaced */
};

/* Whether the runtime is this process's. In a child that somebody else forked
   it is not: what it shares is the parent's, and its threads are not there. */
static inline bool tm__runtime_ours(const tm_runtime *rt) {
  return rt->pid == tm__pid();
}

tm_runtime *tm__runtime_ref(tm_runtime *rt);
void tm__runtime_unref(tm_runtime *rt);

/* The inbox of the host's own jobs, made by the first call; NULL without
   memory. */
tm__inbox *tm__runtime_inbox(tm_runtime *rt);

/* A number that no other state of this runtime has or had; no other job. */
uint64_t tm__runtime_uid(tm_runtime *rt);
uint64_t tm__runtime_job(tm_runtime *rt);

/* Around a fork of a worker, on the thread that forks: no other thread is at
   work on what the child will use. */
void tm__runtime_before_fork(tm_runtime *rt);
void tm__runtime_after_fork(tm_runtime *rt);

/* In the forked child: makes the runtime that of a worker of the pool, with
   no threads, and no pools but those that it makes itself. */
void tm__runtime_child(tm_runtime *rt, tm__pool *pool, tm__ledger *ledger);

/* In a worker process that was started on its own: a runtime in an arena that
   is attached already, with the store at `root`, whose ledger is its own. The
   arena becomes the runtime's on success. */
int tm__runtime_attach(tm_runtime **out, tm__arena *arena, uint64_t root,
                       tm__ledger *ledger, tm_error *e);

/* Says which program spawned workers run; NULL: it is to be found. */
int tm__runtime_command(tm_runtime *rt, const char *path, tm_error *e);

/* Whether one more thread may spin without keeping another from a CPU. */
static inline bool tm__runtime_may_spin(tm_runtime *rt) {
  return atomic_load_explicit(&rt->awake, memory_order_relaxed) <=
         rt->cpus.usable; /* relaxed: a hint */
}

#define TM__SPIN_NS 40000u /* about what a wake-up costs */

/* Notes a pool of the host's own, until disown. TM_ECLOSED: it is the caller's
   to end. */
int tm__runtime_own(tm_runtime *rt, tm__owned *o, tm__pool *pool, tm_error *e);
void tm__runtime_disown(tm_runtime *rt, tm__owned *o);

/* Makes a new arena of `size` bytes in the place of the present one, which
   nothing may be stored in yet: TM_EINVAL. */
int tm__runtime_arena(tm_runtime *rt, size_t size, tm_error *e);

/*
 * The shared pool of a kind, made with `options` when there is none or when
 * it is closed. *out gets a reference of the caller's. TM_ECLOSED after
 * tm_runtime_free.
 */
int tm__runtime_shared(tm_runtime *rt, int kind,
                       const tm__pool_options *options, tm__pool **out,
                       tm_error *e);

#endif
