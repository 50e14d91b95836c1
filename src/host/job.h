/*
 * job.h: the host's jobs
 *
 * A tm_job is what the host keeps for a job of the core (tm__job.user): it
 * has no life of its own. The handle is one reference to the core's job, the
 * runtime's inbox has another while a callback is due, workers have theirs;
 * tm_job goes with the last (tm__guest.forget).
 */
#ifndef TM_HOST_JOB_H
#define TM_HOST_JOB_H

#include "host/run.h"

/* Whether the pool has taken a job: its end may be heard of before that. */
enum tm__taken { TM__SUBMITTING, TM__TAKEN, TM__REFUSED };

struct tm_job {
  tm__job *job;
  const tm__mem *mem;
  tm__map_of *map; /* owned; NULL for a registered kernel */
  tm_done_fn done;
  void *done_user;
  _Atomic int taken;     /* enum tm__taken */
  _Atomic bool given_up; /* the handle's reference was given back */

  pthread_mutex_t lock; /* guards what follows */
  bool reduced;         /* blocks are combined once */
  const void *result;   /* then; in the call */
};

/* Frees what the host keeps for a job. */
void tm__hostjob_forget(tm__job *job);

/* Runs what was checked in worker processes, and waits for it. */
int tm__hostjob_run(tm_pool *p, const tm__hostrun *r, void *result,
                    size_t result_size, tm_error *e);

/* Calls the job's callback, if it has one. */
void tm__hostjob_done(tm__job *job);

#endif
