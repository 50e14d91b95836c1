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
#include "run/kernel.h"
#include "run/monitor.h"
#include "run/pool.h"
#include "store/maps.h"

/* The kinds of shared pool; also indices into tm_runtime.shared. */
enum tm__shared { TM__SHARED_THREAD, TM__SHARED_PROCESS, TM__SHARED_COUNT };

/* Numbers that every process of the runtime draws from; in the arena. */
typedef struct tm__numbers {
  _Atomic uint64_t uid; /* of states, never 0 */
  _Atomic uint64_t job;
} tm__numbers;

/* How worker processes are started. */
enum tm__start { TM__START_AUTO, TM__START_FORK, TM__START_SPAWN };

struct tm_runtime {
  _Atomic uint32_t refs;
  tm__mem mem;
  tm__log log;
  tm__arena *arena;
  tm__store *store;
  tm__maps maps; /* of files, for arrays */
  tm__monitor monitor;
  tm__kernels kernels;
  tm__cpus cpus;
  tm__mask mask; /* of the thread that made the runtime */
  unsigned flags;
  _Atomic int threads;      /* workers of the shared thread pool */
  _Atomic int processes;    /* of the shared process pool */
  _Atomic int start_method; /* enum tm__start */
  _Atomic int pin;     /* enum tm__pin_policy */

  /* Threads of ours, and script threads, that are not asleep. More than
     CPUs: nobody spins. */
  _Atomic int awake;
  tm__numbers *numbers;
  _Atomic int interrupted; /* the command's SIGINT was seen */

  pthread_mutex_t lock; /* guards what follows */
  bool closed;          /* by the host: no more shared pools */
  tm__msg *settings;    /* the config in force, encoded; NULL: defaults */
  tm__pool *shared[TM__SHARED_COUNT];
  tm__pool *retired; /* shared pools that were closed and replaced */
};

tm_runtime *tm__runtime_ref(tm_runtime *rt);
void tm__runtime_unref(tm_runtime *rt);

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

/* Whether one more thread may spin without keeping another from a CPU. */
static inline bool tm__runtime_may_spin(tm_runtime *rt) {
  return atomic_load_explicit(&rt->awake, memory_order_relaxed) <=
         rt->cpus.usable; /* relaxed: a hint */
}

#define TM__SPIN_NS 40000u /* about what a wake-up costs */

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
