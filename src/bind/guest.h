/*
 * guest.h: Lua as the guest of the core's workers
 */
#ifndef TM_BIND_GUEST_H
#define TM_BIND_GUEST_H

#include "bind/bind.h"

/* Workers with a Lua state of their own. Its guest_user is a tm__paths. */
extern const tm__guest tm__guest_own;

/* Worker processes that were forked: the script's own state, as it was. Its
   guest_user is a tm__paths with the script. */
extern const tm__guest tm__guest_forked;

/* What it has of its own. */
int tm__forked_inherit(tm__worker *w, tm_error *e);
int tm__forked_open(tm__worker *w, void **state, tm_error *e);
void tm__forked_close(tm__worker *w, void *state);
size_t tm__forked_memory(tm__worker *w);

/* The state ends: the pools whose workers are forked from it end their jobs
   with the workers that they have. */
void tm__forked_orphan(const struct tm__state *s);

/* Runs the pool's initializer in a fresh state. */
int tm__guest_initialize(tm__worker *w, lua_State *L, tm_error *e);

/* The caller's own state (FakePool): items and results are Lua values in
   tables of the job; nothing is copied. */
extern const tm__guest tm__guest_direct;

/* Where workers look for modules: the script's package.path and cpath when
   the pool was made; a job brings them when they have changed. Of processes
   it is in the arena: a spawned one reads path and cpath, and nothing else. */
typedef struct tm__paths {
  const tm__mem *mem;
  char *path, *cpath;
  struct tm__state *script; /* of forked workers: what they inherit; NULL: it
                               has ended. The monitor's lock */
} tm__paths;

/*
 * What a job for the caller's state keeps (tm__job.user): a table in the
 * registry of that state,
 *   [1] function, [2] kwds, [3] items, [4] results, [5] errors
 * with results[i] (or {n=, ...} where all are kept) and errors[i] = {value,
 * traceback}. Items may be an array, and results the array that they go to.
 */
typedef struct tm__direct {
  lua_State *L; /* its main thread */
  int ref;
} tm__direct;

#endif
