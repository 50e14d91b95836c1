/*
 * monitor.h: the thread that acts while everybody is busy
 *
 * One for each runtime, started with the first job that has a time limit or
 * the first pool of processes. It sleeps until the next deadline, asks
 * workers that are late to unwind, and abandons or kills those that do not
 * come back; it sees when a process ends, and settles its account. With
 * nothing to do it sleeps.
 */
#ifndef TM_RUN_MONITOR_H
#define TM_RUN_MONITOR_H

#include <pthread.h>

#include <stdbool.h>

#include "base/error.h"
#include "base/memory.h"

struct tm__pool;
struct pollfd;

typedef struct tm__monitor {
  pthread_mutex_t lock; /* guards all below; before a pool's locks */
  pthread_cond_t began; /* told when the thread runs */
  int news;             /* an eventfd; -1 until the thread runs */
  pthread_t thread;
  bool running, up, ending; /* started; begun; to end */
  struct tm__pool *pools;   /* those that it watches */
  struct pollfd *fds;       /* its own: news, and the workers' pidfds */
  int nfds, cap_fds;
  const tm__mem *mem;
  struct tm__inboxes *inboxes; /* that it tells for worker processes */
} tm__monitor;

int tm__monitor_init(tm__monitor *m, const tm__mem *mem,
                     struct tm__inboxes *inboxes, tm_error *e);

/* Ends the thread. No pool is watched any more. */
void tm__monitor_term(tm__monitor *m);

/* In a forked child: a monitor that watches nothing and does not run yet. The
   parent's `news` stays open: it is how the child rings (process.h). */
void tm__monitor_child(tm__monitor *m);

/* Watches a pool from now on: its processes. */
int tm__monitor_watch(tm__monitor *m, struct tm__pool *pool, tm_error *e);

/* The same, for a job with a limit of so many ns for each item. */
int tm__monitor_limit(tm__monitor *m, struct tm__pool *pool, uint64_t limit,
                      tm_error *e);

/* Between the two the thread does nothing: a fork then finds it in the middle
   of nothing, in the allocator least of all. No lock of ours is held. */
void tm__monitor_hold(tm__monitor *m);
void tm__monitor_release(tm__monitor *m);

/* Whether the calling thread is a monitor's. */
bool tm__monitor_here(void);

/* Makes it look again. Any thread. */
void tm__monitor_wake(tm__monitor *m);

/* Replaces the workers of watched pools that this thread may replace: what a
   script does that only looks now and then. */
void tm__monitor_refill(tm__monitor *m);

/* Calls visit(pool, argument) for each watched pool, with the lock held. */
void tm__monitor_each(tm__monitor *m,
                      void (*visit)(struct tm__pool *, const void *),
                      const void *argument);

/* Forgets a pool; afterwards the monitor does not touch it. */
void tm__monitor_forget(tm__monitor *m, struct tm__pool *pool);

#endif
