/*
 * guest.h: what the core asks of the language that tasks are written in
 *
 * The core knows no Lua. A pool is made with a guest: a table of functions
 * that make a worker's state, prepare a job in it, and run items. `bind`
 * fills one for workers with a Lua state of their own and one for the
 * caller's own state (FakePool).
 */
#ifndef TM_RUN_GUEST_H
#define TM_RUN_GUEST_H

#include "store/message.h"

typedef struct tm__worker tm__worker;
typedef struct tm__job tm__job;

/*
 * A piece of a claim while it runs, on the stack of the worker's thread. A
 * worker that waits for a job of its own helps it, and a task may use a pool
 * that runs in its caller, so pieces nest: `outer` is the next one of the
 * same worker, `below` the next one of the thread, whose depth is one less.
 * Only the worker's thread may touch one, but for what is said of `next`.
 *
 * The guest appends one record (job.h) to out for each item from first on,
 * in order, and moves `next` past it (tm__piece_advance); [next, last) had no
 * record when it returned.
 *
 * When all items have their records, a guest may ask for more at once
 * (tm__piece_renew) instead of returning.
 */
typedef struct tm__piece {
  struct tm__piece *outer, *below;
  tm__worker *worker;
  tm__job *job;
  tm__job *children; /* submitted by its items; a reference to each */
  void *context;     /* of tm__guest.enter */
  uint64_t first, last;
  _Atomic uint64_t next; /* read by who abandons the worker */
  uint64_t until;        /* tm__now_coarse() to leave at, 0: never */
  uint64_t deadline;     /* tm__now() at which the item is over, 0: none */
  int depth;             /* on its thread, from 1 */
  uint64_t claim_last;   /* the claim goes on to here */
  uint32_t tries;        /* of the claim */
  bool shown;            /* has items that nobody published yet */
  struct tm__seat *seat; /* of a process, which tells the parent; or NULL */
  tm__buf out;
  tm__keys keys;
} tm__piece;

/*
 * Publishes what a piece did, and gives it the next items of the same job,
 * with nothing in `out`. False: there are none, or the worker has something
 * else to do first; the guest then returns, and may not touch the piece any
 * more. Raises nothing. Only when next == last.
 */
bool tm__piece_renew(tm__piece *p);

typedef struct tm__guest {
  /* Makes the state of a worker, on the worker's thread, and runs the
     pool's initializer in it. */
  int (*open)(tm__worker *w, void **state, tm_error *e);
  void (*close)(tm__worker *w, void *state);

  /* Prepares a job in a state; the context is kept until leave. A job that
     cannot be prepared (a module is missing) still gets a context, in which
     every item fails; NULL only when there is no memory. */
  void *(*enter)(tm__worker *w, tm__job *job);
  void (*leave)(tm__worker *w, void *context);

  /* Does a little of what a state without work should do before its worker
     sleeps for long; whether there is more. May be NULL. */
  bool (*rest)(tm__worker *w);

  /* Runs items [p->first, p->last) as described above. May leave early when
     tm__piece_over() says so, or when the worker is to unwind. */
  void (*run)(tm__piece *p);

  /* Makes the state call tm__worker_unwind soon. Called in a signal handler
     on the worker's own thread. */
  void (*interrupt)(tm__worker *w);

  /* In the parent, before a worker is forked: writes down in the ledger of its
     seat what the child will have of the store. May be NULL. TM_ENOMEM;
     TM_ESYS: there is nothing to be forked from any more. */
  int (*inherit)(tm__worker *w, tm_error *e);

  /* Bytes that the state uses. */
  size_t (*memory)(tm__worker *w);

  /* Frees what a job keeps for this guest (tm__job.user). May be NULL. */
  void (*forget)(tm__job *job);

  /* Frees the pool's guest_user, when the pool goes. May be NULL. */
  void (*dispose)(void *guest_user);
} tm__guest;

#endif
