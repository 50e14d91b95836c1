/*
 * batch.h: a kernel as a job of the pool's queue
 *
 * That is run_async, and with worker processes run, too. A batch is a plan
 * (call.h) and all that a worker needs to begin a call of its own: the
 * arguments and their extents, and the kernel's name. The counts on the
 * arrays' memory are held by the job's `code`. The job's items are the plan's
 * units; a unit's record is empty, or says how it failed.
 *
 * A batch is in the pool's memory and does not change once it is submitted.
 * In another process its pointers mean the same, but for the kernel and for
 * arrays that are files, which a worker finds by name and by key. What a
 * worker has of a batch is its `part`: nothing that it writes is shared but
 * the accumulator of the unit that it runs and what the kernel writes.
 *
 * A unit that is done again (its process died) finds what it left: an array
 * may have some of its items' results. So a kernel should write its items,
 * not add to them, where that matters.
 *
 * Time limits act between units, and in kernels that ask. A thread that does
 * not ask is waited for; a process is killed.
 */
#ifndef TM_RUN_BATCH_H
#define TM_RUN_BATCH_H

#include "run/call.h"
#include "run/pool.h"
#include "store/maps.h"

/* Where an array's memory is: for who has to map a file first. */
typedef struct tm__place {
  tm__key key; /* of the entry that names the file; 0: at arg.p */
  uint64_t offset;
} tm__place;

typedef struct tm__batch {
  const tm__mem *mem; /* this is its maker's, as are maps, held and kernel */
  tm__maps *maps;
  tm__map **held; /* nheld references */
  int nheld;
  tm__kernel *kernel;
  tm__kernel_name name;
  tm__plan plan;
  uint64_t deadline; /* tm__now() at which to stop; 0: never */
  int nargs;
  tm_arg *args;
  tm__place *places;
} tm__batch;

/* What is to be run. */
typedef struct tm__batch_spec {
  tm__kernel *kernel;
  const tm_arg *args; /* checked */
  int64_t first, last;
  int64_t chunk;    /* items of a unit; 0: by their number */
  uint64_t timeout; /* for all of it, from now on, in ns; 0: none */
} tm__batch_spec;

/* Makes a batch for a pool. TM_ENOMEM. */
int tm__batch_new(tm__batch **out, tm__pool *pool, const tm__batch_spec *spec,
                  tm_error *e);
void tm__batch_free(tm__batch *b);

/* Argument i is in a mapped file: the batch takes a reference to the map. */
void tm__batch_map(tm__batch *b, int i, tm__map *map, tm__key key,
                   uint64_t offset);

/* ---- workers ---- */

/* A worker's part in the batch of a job, as tm__guest.enter has a context;
   NULL without memory. */
void *tm__batch_enter(tm__worker *w, tm__job *job);
void tm__batch_leave(tm__worker *w, void *part);

/* Does the piece's units, as tm__guest.run would. */
void tm__batch_run(tm__piece *p);

/* ---- the end ---- */

/* How it ended: of the batch's job, which is done or was stopped; its
   owner. */
void tm__batch_outcome(tm__job *job, tm__outcome *out);

/* What it reduced to, of one that is done: as tm__call_finish. Once. */
void tm__batch_finish(const tm__batch *b, const void **result);

#endif
