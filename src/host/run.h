/*
 * run.h: what a run and a map have in common, and how they end
 *
 * Both are a call (run/call.h) of a kernel: a registered one with its checked
 * arguments, or a map's own, made for the one job.
 */
#ifndef TM_HOST_RUN_H
#define TM_HOST_RUN_H

#include "host/array.h"
#include "host/pool.h"
#include "run/batch.h"

/*
 * A map is a kernel with what its items need behind it: a function finds it
 * from the call that it is given.
 */
typedef struct tm__map_of {
  tm__kernel kernel; /* first */
  char name[64];
  tm_item_fn fn;
  void *user;
  int64_t first;
  const char *in;
  char *out;
  size_t in_size, out_size;
} tm__map_of;

/* What is to be run: checked, not begun. */
typedef struct tm__hostrun {
  tm__kernel *kernel;
  tm__map_of *map; /* the kernel is its; NULL for a registered one */
  int64_t first, last;
  tm_run_options options;
  int nargs;
  const tm_value *values; /* nargs, of the caller */
  tm_arg args[TM__PARAM_LIMIT];
} tm__hostrun;

/* Checks of tm_pool_run and tm_pool_map; `function` is who asks. */
int tm__hostrun_kernel(tm__hostrun *r, tm_pool *p, const char *function,
                       const char *kernel, int64_t n, const tm_value *args,
                       int nargs, const tm_run_options *options, tm_error *e);
int tm__hostrun_map(tm__hostrun *r, tm__map_of *map, tm_pool *p,
                    const char *function, int64_t n,
                    const tm_run_options *options, tm_error *e);

/* The time that it may take, in ns; 0: no limit. */
static inline uint64_t tm__hostrun_limit(const tm__hostrun *r) {
  double seconds = r->options.timeout;
  if (!(seconds > 0) || seconds > 1e9) return 0;
  return (uint64_t)(seconds * 1e9) + 1;
}

/* Whether a result of `size` bytes is what the kernel reduces to. */
int tm__hostrun_result(const tm__kernel *k, const void *result, size_t size,
                       tm_error *e);

/* What became of a run, as a status: TM_OK, TM_EKERNEL, TM_ETIMEOUT or
   TM_ECANCELLED. */
int tm__hostrun_outcome(const tm__kernel *k, const tm__outcome *o, tm_error *e);

#endif
