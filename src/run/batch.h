/*
 * batch.h: a kernel as a job of the pool's queue (run_async)
 *
 * A batch is a call with all that it needs to live on its own: copies of the
 * arguments and their extents, the maps of arrays that are files. The counts
 * on the arrays' memory are held by the job's `code`. The job's items are the
 * call's units; a unit's record is empty, or the text of its failure.
 *
 * Time limits act between units only: a kernel that runs is told (cancelled),
 * never interrupted.
 */
#ifndef TM_RUN_BATCH_H
#define TM_RUN_BATCH_H

#include "run/call.h"
#include "run/guest.h"
#include "store/maps.h"

typedef struct tm__batch {
  tm__call call;
  tm__maps *maps;
  tm__map **held; /* nheld references */
  int nheld;
  tm_arg *args;
} tm__batch;

/*
 * Makes a batch of a kernel's checked arguments. chunk is the items of a unit
 * (0: by their number). timeout is for all of it, from now on, in ns; 0:
 * none. TM_ENOMEM.
 */
int tm__batch_new(tm__batch **out, tm_runtime *rt, tm__kernel *k,
                  const tm_arg *args, int64_t first, int64_t last,
                  int64_t chunk, uint64_t timeout, tm_error *e);
void tm__batch_free(tm__batch *b);

/* Takes a reference to a map until the batch is freed. At most as many as
   there are arguments. NULL is fine. */
void tm__batch_hold(tm__batch *b, tm__map *map);

/* Does the piece's units, as tm__guest.run would. */
void tm__batch_run(tm__piece *p);

#endif
