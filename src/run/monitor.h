/*
 * monitor.h: the thread that sees to time limits while everybody is busy
 *
 * One for each runtime, started with the first job that has a time limit.
 * It sleeps until the next deadline, asks workers that are late to unwind,
 * and abandons those that do not come back. With no such job it sleeps.
 */
#ifndef TM_RUN_MONITOR_H
#define TM_RUN_MONITOR_H

#include <pthread.h>

#include <stdbool.h>

#include "base/error.h"

struct tm__pool;

typedef struct tm__monitor {
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t news;
  pthread_t thread;
  bool running, ending;
  struct tm__pool *pools; /* those that had a job with a time limit */
} tm__monitor;

int tm__monitor_init(tm__monitor *m, tm_error *e);

/* Ends the thread. No pool is watched any more. */
void tm__monitor_term(tm__monitor *m);

/* Watches a pool from now on, for limits as short as `limit` ns. */
int tm__monitor_watch(tm__monitor *m, struct tm__pool *pool, uint64_t limit,
                      tm_error *e);

/* Forgets a pool; afterwards the monitor does not touch it. */
void tm__monitor_forget(tm__monitor *m, struct tm__pool *pool);

#endif
