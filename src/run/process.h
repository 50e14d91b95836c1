/*
 * process.h: the worker that is a process
 *
 * Forked, it has all that the script had at that moment; spawned (posix_spawn
 * of the command in worker mode), it has the arena and what jobs bring. In
 * both it has a seat in the pool's hub, claims and publishes like a thread,
 * and takes no lock that another process has.
 *
 * Birth by fork, on the script's thread: no lock of ours is held by another
 * thread, streams are flushed; the parent writes down in the child's ledger
 * what the child will have of the store. The child then makes everything
 * that belongs to threads which it does not have anew, and never returns.
 *
 * Death: the monitor sees the pidfd, waits for the child, settles its account
 * and leaves the worker in its place, `exited`, to be replaced.
 */
#ifndef TM_RUN_PROCESS_H
#define TM_RUN_PROCESS_H

#include "run/worker.h"

/* How a worker process says why it ended on its own. */
enum tm__exit {
  TM__EXIT_DONE = 0,
  TM__EXIT_NO_MEMORY = 93, /* of the arena, where it cannot be reported */
  TM__EXIT_NO_ARENA = 94,  /* spawned: what the parent has is not to be had */
  TM__EXIT_OTHER = 95      /* spawned: the command is of another version */
};

/* Bytes of a text that says how a worker ended. */
#define TM__LAST_WORDS 1700

/* How often a worker without work looks whether its parent lives, where the
   kernel was not asked to see to that. */
#define TM__ORPHAN_NS 1000000000u

/* How long a worker sleeps before it asks the parent to free jobs that are
   done, which the next submit would do for less. */
#define TM__LEFT_NS 5000000u

/* In a worker process: the descriptor by which the parent's monitor is woken,
   or -1. */
extern int tm__doorbell;

/* In a worker process: ends it when the parent is gone. */
void tm__process_check_parent(void);

/* In a worker process: has the script's event loop told that there are jobs
   to take. */
void tm__process_ring(void);

/* Gets the seat of a worker that is to be started ready, and gives it up when
   that fails. */
int tm__process_prepare(tm__worker *w, tm_error *e);
void tm__process_abort(tm__worker *w);

/* The process was started: the parent's side. */
void tm__process_started(tm__worker *w, int32_t pid);

/* In a fresh worker process: ties it to its parent, and makes its signals and
   streams a worker's. watched: the thread that started it lives as long as
   its process, so that the kernel may tell us of its end. */
void tm__process_begin(int32_t parent, bool watched);

/* The whole life of a worker process once it has its seat. Does not return. */
_Noreturn void tm__process_live(tm__worker *w);

/* tm__worker_kind.interrupt of both kinds. */
void tm__process_interrupt(tm__worker *w);

/*
 * Makes a worker end that does not listen: SIGTERM, and after a time SIGKILL.
 * why (enum tm__kind) is what its item fails with. w->lock is held.
 */
void tm__process_kill(tm__worker *w, int why);

/* How worker processes of a runtime are started: as its start_method says,
   or, where that is auto, by fork unless the process has threads that are not
   ours: they may hold locks that nobody would give back in a child. */
const tm__worker_kind *tm__worker_process_kind(const struct tm_runtime *rt);

/* In the monitor: whether the process has ended; then its account is settled
   and w->exited set. The roster is held. */
bool tm__process_reap(tm__worker *w);

/* death.h: gives back and fails what a dead worker had. How it ended: a text
   for its item, or NULL when it ended on its own account. */
void tm__death_settle(tm__worker *w, const char *how, int kind);

/* The same for the workers of the pools that a dead worker had made, which end
   with it: waits until they have, and frees what those pools shared. */
void tm__orphans_settle(struct tm_runtime *rt, tm__seat *seat);

#endif
