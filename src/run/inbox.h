/*
 * inbox.h: jobs that ended, for the state that waits to hear of them
 *
 * One for each script state, and one for the host's own jobs; in the arena:
 * worker processes push too. Workers push a finished job, the script's thread
 * takes all of them; neither waits for the other. A job that has an inbox has
 * one reference more, which goes with it to whoever takes it. An event loop
 * can be told by a descriptor, made when it is first asked for: it is readable
 * while there are jobs to take.
 *
 * A worker process that was killed as it ended a job may or may not have
 * pushed it: such a job is a suspect, and the owner, who alone sees all that
 * was ever pushed, finds out.
 */
#ifndef TM_RUN_INBOX_H
#define TM_RUN_INBOX_H

#include <pthread.h>

#include "run/job.h"

struct tm__inbox {
  _Atomic uint32_t refs;
  _Atomic(tm__job *) head; /* latest first; or shut */
  _Atomic(tm__job *) suspects;
  _Atomic int event; /* base/event.h; -1: nobody has asked for it */
  const tm__mem *mem;
  int32_t pid; /* of the process whose it is: what follows is its */
  struct tm__inboxes *all;
  struct tm__inbox *next; /* of those in `all` */
};

/* A runtime's inboxes that have a descriptor. Worker processes cannot tell on
   it: they ring, and the monitor does it for them. */
typedef struct tm__inboxes {
  pthread_mutex_t lock;
  tm__inbox *first;
} tm__inboxes;

void tm__inboxes_init(tm__inboxes *all);
void tm__inboxes_term(tm__inboxes *all);

/* Says on the descriptor of each that there are jobs to take, where so. */
void tm__inboxes_tell(tm__inboxes *all);

/* NULL without memory. `all` is of the runtime that it belongs to, and outlives
   it. */
tm__inbox *tm__inbox_new(tm__inboxes *all, const tm__mem *mem);
tm__inbox *tm__inbox_ref(tm__inbox *box);
void tm__inbox_unref(tm__inbox *box);

/* A job that is not submitted yet is to go to an inbox when it has ended. */
void tm__inbox_expect(tm__inbox *box, tm__job *job);

/* Any thread, of any process: adds a job (linked by next_done). */
void tm__inbox_push(tm__inbox *box, tm__job *job);

/* The same for a job that may have been pushed by one who is dead; it is not
   done yet, so whoever has it from the inbox still waits. */
void tm__inbox_suspect(tm__inbox *box, tm__job *job);

/* The descriptor, made by the first call. TM_ESYS. */
int tm__inbox_event(tm__inbox *box, int *fd, tm_error *e);

/* Whether there is one: jobs that nobody calls back are told too then. */
static inline bool tm__inbox_watched(tm__inbox *box) {
  return atomic_load(&box->event) >= 0;
}

/* Says on it that there are jobs to take. */
void tm__inbox_tell(tm__inbox *box);

/* The owner: takes all, earliest first, linked by next_done, and waits the
   moment until each is seen to be done. The references are now the caller's.
   NULL when there are none. */
tm__job *tm__inbox_take(tm__inbox *box);

/* The owner, when it ends: drops what is there and what may still come. */
void tm__inbox_close(tm__inbox *box);

#endif
