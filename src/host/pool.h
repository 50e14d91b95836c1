/*
 * pool.h: the host's pools
 *
 * A pool of the core with a guest that has no language: all its jobs are
 * kernels (run/batch.h), so that its workers need no state. The runtime knows
 * it (tm__owned) and ends it when it closes; the handle goes on answering.
 */
#ifndef TM_HOST_POOL_H
#define TM_HOST_POOL_H

#include "host/host.h"

struct tm_pool {
  tm__owned owned; /* pool: a reference; stopped: why its runs should stop */
  tm_runtime *rt;  /* a reference */
  pthread_mutex_t turn; /* of a fake pool: one thread at a time is its worker;
                           recursive, since kernels may use the pool */
};

static inline bool tm__hostpool_fake(const tm_pool *p) {
  return p->owned.pool->kind->runs_in_caller;
}

/* TM_OK when the pool takes work from this thread; else TM_EINVAL for NULL, or
   TM_ECLOSED. */
int tm__hostpool_open(tm_pool *p, const char *function, tm_error *e);

#endif
