/*
 * inbox.h: jobs that ended, for the state that waits to hear of them
 *
 * One for each script state. Workers push a finished job, the script's
 * thread takes all of them; neither waits for the other.
 */
#ifndef TM_RUN_INBOX_H
#define TM_RUN_INBOX_H

#include "run/job.h"

struct tm__inbox {
  _Atomic uint32_t refs;
  _Atomic(tm__job *) head; /* latest first, a reference to each; or shut */
  const tm__mem *mem;
};

tm__inbox *tm__inbox_new(const tm__mem *mem);
tm__inbox *tm__inbox_ref(tm__inbox *box);
void tm__inbox_unref(tm__inbox *box);

/* Any thread: adds a job (linked by next_done), with a reference. */
void tm__inbox_push(tm__inbox *box, tm__job *job);

/* The owner: takes all, earliest first, linked by next_done. The references
   are now the caller's. NULL when there are none. */
tm__job *tm__inbox_take(tm__inbox *box);

/* The owner, when it ends: drops what is there and what may still come. */
void tm__inbox_close(tm__inbox *box);

#endif
