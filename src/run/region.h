/*
 * region.h: a kernel on all workers of a pool and its caller, at once
 *
 * A region is a fork and a join: the caller publishes a call, workers of the
 * pool that happen to look join it, all of them claim chunks through one
 * index, and the caller waits for those that joined. It has nothing to do
 * with the pool's queue. Nobody has to come: the caller can finish alone, and
 * starts at once. Sleeping workers are woken only for work that is worth it.
 *
 * A pool has one region at a time. Where it is taken (a second script thread,
 * a task that runs a kernel on its own pool), the caller does the items by
 * itself.
 *
 *   gate: OPEN | WAITING | left (15 bits) | joined (15 bits)
 *
 * A worker joins with one compare-and-swap that raises `joined` while OPEN is
 * set; what the caller wrote before it opened the gate is the worker's to
 * read until it has raised `left`. The caller closes the gate and waits
 * until left == joined; with WAITING set, it sleeps on the gate and whoever
 * leaves last wakes it. A worker that joined when `joined` was i is number
 * i + 1; the caller is number 0.
 */
#ifndef TM_RUN_REGION_H
#define TM_RUN_REGION_H

#include "run/call.h"
#include "run/pool.h"

#define TM__GATE_OPEN 0x80000000u
#define TM__GATE_WAITING 0x40000000u
#define TM__GATE_LEFT 0x8000u /* one worker that left */

static inline uint32_t tm__gate_joined(uint32_t gate) {
  return gate & (TM__GATE_LEFT - 1);
}

static inline uint32_t tm__gate_left(uint32_t gate) {
  return (gate & ~(TM__GATE_OPEN | TM__GATE_WAITING)) / TM__GATE_LEFT;
}

/* What workers look at, read and claim lies on one cache line: a line's way to
   another core is what a short region costs. */
struct tm__region {
  _Atomic uint32_t gate; /* futex */
  _Atomic int32_t cpu;   /* of the caller: a worker pinned there stays away */
  tm__call *call;
  int64_t chunk;         /* units a claim; 0: measured */
  double each;           /* what the caller knows: ns a unit; 0: nothing */
  _Atomic int64_t next;  /* the next unit to claim */
  _Atomic int64_t limit; /* its end: units of the call */
  char pad[16];

  _Atomic uint32_t busy; /* taken by a caller */
  tm__pool *pool;
  void *memory; /* that this lies in */
};

/* NULL when there is no memory. */
tm__region *tm__region_new(tm__pool *pool);
void tm__region_free(tm__region *r);

/* What a caller wants of a region. */
typedef struct tm__region_options {
  int64_t chunk;    /* items a claim; 0: measured */
  tm__poll_fn poll; /* asked between chunks, on the caller's thread */
  void *poll_argument;
} tm__region_options;

/*
 * Does the call on the pool's workers and the calling thread; with pool NULL,
 * or one that runs in its caller, on this thread alone. What became of it
 * is in the call: failed, stopped, or else done.
 */
void tm__region_run(tm__pool *pool, tm__call *c,
                    const tm__region_options *options);

/* Whether the calling thread is in a call of the runtime's, or of the pool's,
   that it has begun itself. */
bool tm__region_inside(const tm_runtime *rt);
bool tm__region_inside_pool(const tm__pool *pool);

/* Whether there is a region at all. Cheap: for workers that spin. */
static inline bool tm__region_open(tm__region *r) {
  /* relaxed: a hint; joining looks again */
  uint32_t gate = atomic_load_explicit(&r->gate, memory_order_relaxed);
  return (gate & TM__GATE_OPEN) != 0;
}

/* For a worker that has counted itself as a sleeper: whether it should rather
   not sleep. A caller opens its region before it looks for sleepers, so one
   of them sees the other. */
bool tm__region_calls(tm__region *r, tm__worker *w);

/* By which a sleeping worker is woken alone. */
static inline uint32_t tm__region_bit(const tm__worker *w) {
  return 1u << (w->index % 32);
}

/* For a worker of the pool: joins the open region, if there is one and it
   has need of this worker, and works in it to the end. False when there was
   nothing to do. */
bool tm__region_join(tm__region *r, tm__worker *w);

#endif
