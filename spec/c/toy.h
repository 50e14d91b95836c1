/*
 * toy.h: a guest in plain C, for the tests of jobs, pools and runtimes
 *
 * A job's `user` is a toy: a function of the item, and what it needs. A
 * record that is well holds the number that the function gave.
 */
#ifndef TM_SPEC_TOY_H
#define TM_SPEC_TOY_H

#include <sched.h>
#include <string.h>

#include "check.h"
#include "run/runtime.h"

enum { TOY_OK = 0, TOY_UNWIND = -1 }; /* else an enum tm__kind */

typedef struct toy {
  int (*run)(struct toy *t, tm__piece *p, uint64_t i, uint64_t *value);
  void *more;
  _Atomic uint64_t calls, entered, begun;
  _Atomic int release;
} toy;

/* Of a pool: what its workers did. It lives as long as they. */
typedef struct toy_log {
  _Atomic int opens, closes;
  _Atomic uint64_t forgotten; /* jobs that were freed */
  _Atomic int refuse;         /* so many opens fail */
  _Atomic size_t memory;      /* that states say they use */
} toy_log;

/* Set by interrupts, on the worker's thread. */
static _Thread_local volatile sig_atomic_t toy_interrupted;

/* ---- the guest ---- */

static inline int toy_open(tm__worker *w, void **state, tm_error *e) {
  toy_log *log = w->pool->guest_user;
  if (log && atomic_load(&log->refuse) > 0) {
    atomic_fetch_sub(&log->refuse, 1);
    return tm__fail(e, TM_ELUA, "the toy does not open");
  }
  *state = tm__alloc(w->pool->mem, 16);
  if (!*state) return tm__fail(e, TM_ENOMEM, "no memory for a toy");
  if (log) atomic_fetch_add(&log->opens, 1);
  return TM_OK;
}

static inline void toy_close(tm__worker *w, void *state) {
  toy_log *log = w->pool->guest_user;
  if (log) atomic_fetch_add(&log->closes, 1);
  tm__free(w->pool->mem, state);
}

static inline void *toy_enter(tm__worker *w, tm__job *job) {
  toy *t = job->user;
  void *context = tm__alloc(w->pool->mem, 8);
  if (context) atomic_fetch_add(&t->entered, 1);
  return context;
}

static inline void toy_leave(tm__worker *w, void *context) {
  tm__free(w->pool->mem, context);
}

/* Whether the item of p is to be given up, and why. */
static inline bool toy_unwinds(tm__piece *p, int *kind) {
  int depth = tm__worker_unwind(p->worker, kind);
  if (depth < 0) return false;
  if (depth < p->depth) *kind = TOY_UNWIND;
  return true;
}

static inline bool toy_write(tm__piece *p, int kind, uint64_t value) {
  if (kind) return tm__record_text(&p->out, kind, "the toy failed");
  unsigned char *at = tm__buf_take(&p->out, TM__RECORD_HEAD + sizeof value);
  if (!at) return false;
  tm__record_write(at, (tm__record){.tag = TM__REC_OK, .len = sizeof value});
  memcpy(at + TM__RECORD_HEAD, &value, sizeof value);
  return true;
}

static inline void toy_run(tm__piece *p) {
  toy *t = p->job->user;
  for (uint64_t i = p->first; i < p->last; i++) {
    uint64_t value = 0;
    if (tm__job_skips(p->job, i)) return;
    if (i > p->first && tm__piece_over(p)) return;
    int kind = t->run(t, p, i, &value);
    if (kind == TOY_UNWIND || !toy_write(p, kind, value)) return;
    atomic_fetch_add(&p->next, 1);
  }
}

static inline void toy_interrupt(tm__worker *w) {
  (void)w;
  toy_interrupted = 1;
}

static inline size_t toy_memory(tm__worker *w) {
  toy_log *log = w->pool->guest_user;
  return log ? atomic_load(&log->memory) : 0;
}

static inline void toy_forget(tm__job *job) {
  toy_log *log = job->pool->guest_user;
  if (log) atomic_fetch_add(&log->forgotten, 1);
}

static const tm__guest toy_guest = {.open = toy_open,
                                    .close = toy_close,
                                    .enter = toy_enter,
                                    .leave = toy_leave,
                                    .run = toy_run,
                                    .interrupt = toy_interrupt,
                                    .memory = toy_memory,
                                    .forget = toy_forget};

/* ---- what toys do ---- */

static inline int toy_square(toy *t, tm__piece *p, uint64_t i,
                             uint64_t *value) {
  (void)p;
  atomic_fetch_add(&t->calls, 1);
  *value = i * i;
  return TOY_OK;
}

/* Runs until it is to unwind; looks only after an interrupt. It sleeps since
   the thread sanitizer holds signals back from who does not. */
static inline int toy_forever(toy *t, tm__piece *p, uint64_t i,
                              uint64_t *value) {
  int kind;
  (void)i;
  (void)value;
  atomic_fetch_add(&t->begun, 1);
  toy_interrupted = 0;
  while (!toy_interrupted || !toy_unwinds(p, &kind)) usleep(100);
  return kind;
}

/* Deaf to interrupts until it is released; items above 0 are not. */
static inline int toy_stuck(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  (void)p;
  *value = i * i;
  if (i > 0 || atomic_fetch_add(&t->begun, 1) > 0) return TOY_OK;
  while (!atomic_load(&t->release)) usleep(1000);
  return TOY_OK;
}

/* ---- making and asking ---- */

static inline tm_runtime *toy_runtime(check_heap *heap) {
  tm_runtime *rt;
  tm_config c;
  tm_config_init(&c);
  c.flags = TM_USE_SIGNALS;
  c.arena_size = 1 << 22;
  if (heap) {
    c.alloc = check_alloc;
    c.alloc_user = heap;
  }
  return tm_runtime_new(&rt, &c, NULL) ? NULL : rt;
}

static inline int toy_pool(tm__pool **out, tm_runtime *rt, int workers,
                           toy_log *log) {
  tm__pool_options o = {.kind = &tm__worker_thread,
                        .guest = &toy_guest,
                        .guest_user = log,
                        .workers = workers};
  return tm__pool_new(out, rt, &o, NULL);
}

static inline int toy_job(tm__job **out, tm__pool *pool, toy *t, uint64_t n,
                          const tm__spec *spec) {
  static const tm__spec none;
  tm__items items = {.kind = TM__ITEMS_DIRECT, .n = n};
  if (spec && spec->window) items.kind = TM__ITEMS_STREAM;
  int status = tm__job_new(out, pool, spec ? spec : &none, &items, NULL, NULL);
  if (status == TM_OK) (*out)->user = t;
  return status;
}

/* A job that was submitted; NULL when that failed. */
static inline tm__job *toy_submit(tm__pool *pool, toy *t, uint64_t n,
                                  const tm__spec *spec) {
  tm__job *job;
  if (toy_job(&job, pool, t, n, spec)) return NULL;
  if (tm__pool_submit(pool, job, NULL) == TM_OK) return job;
  tm__job_unref(job);
  return NULL;
}

static inline bool toy_is_done(tm__job *job, void *argument) {
  (void)argument;
  return tm__job_done(job);
}

static inline bool toy_wait(tm__job *job) {
  int status;
  do status = tm__pool_wait(job, NULL, toy_is_done, NULL, TM__FOREVER);
  while (status == TM_ECANCELLED && !tm__job_done(job) &&
         !tm__worker_must_unwind());
  return status == TM_OK;
}

static inline void toy_end(tm__pool *pool) {
  tm__pool_close(pool);
  tm__pool_join(pool, NULL, NULL);
  tm__pool_unref(pool);
}

/* What became of the items of a job that is done. */
typedef struct toy_outcome {
  uint64_t ok, failed, missing; /* items */
  uint64_t wrong;               /* values that are not i * i */
  uint64_t first_failed;
  int kind;      /* of that */
  char text[80]; /* of that, when the core wrote it */
} toy_outcome;

static inline void toy_read(toy_outcome *o, const tm__msg *m) {
  const unsigned char *at = tm__msg_bytes(m), *end = at + m->len;
  tm__record r;
  for (uint64_t i = m->first; i < m->first + m->count; i++) {
    uint64_t value = 0;
    if (!CHECK(tm__record_read(&at, end, &r))) return;
    if (r.tag == TM__REC_OK) {
      memcpy(&value, at, sizeof value);
      o->ok++;
      o->wrong += value != i * i;
    } else if (!o->failed++) {
      o->first_failed = i;
      o->kind = r.kind;
      snprintf(o->text, sizeof o->text, "%.*s", (int)r.len, at);
    }
    at += r.len;
  }
}

static inline toy_outcome toy_results(tm__job *job) {
  toy_outcome o = {0};
  for (uint64_t i = 0; i < job->items.n;) {
    tm__msg *m = tm__job_results(job, i);
    if (m) {
      CHECK(m->first == i && m->count > 0);
      toy_read(&o, m);
    } else {
      o.missing++;
    }
    i += m ? m->count : 1;
  }
  return o;
}

/* Waits for `word` to be `value`, as events make it. */
static inline void toy_until_u64(_Atomic uint64_t *word, uint64_t value) {
  while (atomic_load(word) < value) usleep(100);
}

#endif
