/*
 * inbox.h: jobs that ended, for the state that waits to hear of them
 *
 * One for each script state, and one for the host's own jobs. Workers push a
 * finished job, the script's thread takes all of them; neither waits for the
 * other. An event loop can be told by a descriptor, made when it is first
 * asked for: it is readable while there are jobs to take.
 */
#ifndef TM_RUN_INBOX_H
#define TM_RUN_INBOX_H

#include "run/job.h"

struct tm__inbox {
  _Atomic uint32_t refs;
  _Atomic(tm__job *) head; /* latest first, a reference to each; or shut */
  _Atomic int event;       /* base/event.h; -1: nobody has asked for it */
  const tm__mem *mem;
};

tm__inbox *tm__inbox_new(const tm__mem *mem);
tm__inbox *tm__inbox_ref(tm__inbox *box);
void tm__inbox_unref(tm__inbox *box);

/* Any thread: adds a job (linked by next_done), with a reference. */
void tm__inbox_push(tm__inbox *box, tm__job *job);

/* The descriptor, made by the first call. TM_ESYS. */
int tm__inbox_event(tm__inbox *box, int *fd, tm_error *e);

/* Whether there is one: jobs that nobody calls back are told too then. */
static inline bool tm__inbox_watched(tm__inbox *box) {
  return atomic_load(&box->event) >= 0;
}

/* The owner: takes all, earliest first, linked by next_done, and waits the
   moment until each is seen to be done. The references are now the caller's.
   NULL when there are none. */
tm__job *tm__inbox_take(tm__inbox *box);

/* The owner, when it ends: drops what is there and what may still come. */
void tm__inbox_close(tm__inbox *box);

#endif
