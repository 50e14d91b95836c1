/*
 * call.h: one run of a kernel, from checked arguments to its result
 *
 * A call does items [first, last) in `units` of `unit` items each (the last
 * may be shorter). Whoever schedules it (region.h, or a job) gives each unit
 * to exactly one worker, in any order, and ends with tm__call_finish.
 *
 *   - Without a reduction the scheduler may choose units as it likes: they
 *     only say what is claimed at once.
 *   - With one, units depend on the number of items alone (at most 256 of
 *     them). Each has an accumulator of its own in `acc`, and they are
 *     combined in order: the result does not know who did what. A unit sets
 *     its accumulator when it begins, so that it may be done again.
 *
 * Failures: fail_at only sinks. Units below it are all run, units above it
 * that nobody has begun are not.
 *
 * That is the plan, which does not change while anybody works: processes
 * share it in the arena. A call is a plan with what is one process's: the
 * kernel as it has it, the arguments where they are there, what became of it.
 *
 * Threads: between tm__call_init and tm__call_finish any worker of the process
 * may use a call through a tm__work of its own; what changes is atomic or
 * under `lock`.
 */
#ifndef TM_RUN_CALL_H
#define TM_RUN_CALL_H

#include "run/kernel.h"

typedef bool (*tm__poll_fn)(void *argument);

typedef struct tm__plan {
  int64_t first, last;
  int64_t unit, units;
  char *acc; /* units * stride bytes; NULL: no reduction */
} tm__plan;

typedef struct tm__call {
  tm__kernel *kernel;
  const tm__mem *mem;
  const tm_arg *args; /* of the caller, until the call is over */
  tm__plan plan;

  _Atomic int64_t fail_at;  /* lowest failed item; INT64_MAX: none */
  _Atomic uint32_t stopped; /* 0, or the enum tm__kind that says why */
  _Atomic uint32_t *watch;  /* also stopped when this is not 0; may be NULL */
  uint64_t deadline;        /* tm__now() at which to stop; 0: never */
  pthread_mutex_t lock;     /* guards failure */
  char failure[400];        /* of item fail_at */
  _Atomic bool scratchless; /* somebody had no memory for scratch */
} tm__call;

/* Makes a plan. Units of a reduction are set; without one they have `unit`
   items. args are for the reduction of no items. TM_ENOMEM. */
int tm__plan_init(tm__plan *p, const tm__kernel *k, const tm__mem *mem,
                  const tm_arg *args, int64_t first, int64_t last, int64_t unit,
                  tm_error *e);
void tm__plan_term(tm__plan *p, const tm__mem *mem);

/* Begins a call of a plan. The caller may set watch and deadline before
   anybody works. mem is for scratch; the plan's accumulators stay its own. */
void tm__call_begin(tm__call *c, tm__kernel *k, const tm__mem *mem,
                    const tm_arg *args, const tm__plan *plan);
void tm__call_end(tm__call *c);

/* Both at once, with units of one item. TM_ENOMEM. */
int tm__call_init(tm__call *c, tm__kernel *k, const tm__mem *mem,
                  const tm_arg *args, int64_t first, int64_t last, tm_error *e);
void tm__call_term(tm__call *c);

/* Forgets a failure. Nobody works on the call. */
void tm__call_renew(tm__call *c);

/* A worker in a call, on its stack. */
typedef struct tm__work {
  tm_call given; /* what the kernel sees; first: it finds us by it */
  tm__call *call;
  tm__poll_fn poll; /* asks whether to stop; may be NULL */
  void *poll_argument;
  void *memory; /* of scratch */
  bool failed;  /* in this call of the kernel */
} tm__work;

/* worker is below workers, and no other's in this call. False when there is
   no memory for scratch: the call is failed at its first item. */
bool tm__work_begin(tm__work *w, tm__call *c, int worker, int workers);
void tm__work_end(tm__work *w);

/* Runs units [from, to). */
void tm__work_run(tm__work *w, int64_t from, int64_t to);

/* Stops the call; the first reason stays. */
void tm__call_stop(tm__call *c, int kind);

/* The reason for which it was stopped, 0 when it was not. */
static inline int tm__call_stopped(tm__call *c) {
  /* relaxed: a late look costs one chunk more, nothing else */
  uint32_t why = atomic_load_explicit(&c->stopped, memory_order_relaxed);
  if (!why && c->watch)
    why = atomic_load_explicit(c->watch, memory_order_relaxed);
  return (int)why;
}

static inline bool tm__call_failed(tm__call *c) {
  /* relaxed: as above; the text is read after everybody is done */
  return atomic_load_explicit(&c->fail_at, memory_order_relaxed) != INT64_MAX;
}

/* Whether its deadline is over, which then stops it. */
bool tm__call_late(tm__call *c);

/* Looks at the deadline, and asks poll. */
static inline bool tm__work_asks(tm__work *w) {
  if (w->call->deadline && tm__call_late(w->call)) return true;
  return w->poll && w->poll(w->poll_argument);
}

/* Whether what was not begun should not be: by failure or stop. Between
   chunks, which may be shorter than a few calls of functions: quick. */
static inline bool tm__work_over(tm__work *w) {
  return tm__call_failed(w->call) || tm__call_stopped(w->call) ||
         tm__work_asks(w);
}

/*
 * Ends a call that nobody works on any more and was neither stopped nor
 * failed: *result points to the reduction's elements (NULL: there is none),
 * valid until term.
 */
void tm__call_finish(tm__call *c, const void **result);

/* How a run ended. */
typedef struct tm__outcome {
  int kind;    /* 0: all is done; else enum tm__kind */
  bool failed; /* at item, with text; else it was stopped */
  bool core;   /* the kernel did not fail: its worker died, or memory is out */
  int64_t item;
  char text[1800];
} tm__outcome;

/* Of a call that nobody works on any more. */
void tm__call_outcome(tm__call *c, tm__outcome *out);

#endif
