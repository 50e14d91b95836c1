#include "host/pool.h"

#include "host/job.h"
#include "run/config.h"
#include "run/process.h"
#include "run/region.h"

/* More threads than this are a mistake; a region counts to 2^15. */
enum { MOST_WORKERS = 4095 };

/* ---- the guest without a language ---- */

static int guest_open(tm__worker *w, void **state, tm_error *e) {
  (void)e;
  *state = w; /* there is none, and it is not NULL */
  return TM_OK;
}

static void guest_close(tm__worker *w, void *state) {
  (void)w;
  (void)state;
}

/* Jobs that are not kernels are not submitted: what follows is not called. */
static void *guest_enter(tm__worker *w, tm__job *job) {
  (void)w;
  (void)job;
  return NULL;
}

static void guest_leave(tm__worker *w, void *context) {
  (void)w;
  (void)context;
}

static void guest_run(tm__piece *p) { (void)p; }

/* Kernels are told (tm_call.cancelled), never interrupted. */
static void guest_interrupt(tm__worker *w) { (void)w; }

static size_t guest_memory(tm__worker *w) {
  (void)w;
  return 0;
}

static const tm__guest guest = {.open = guest_open,
                                .close = guest_close,
                                .enter = guest_enter,
                                .leave = guest_leave,
                                .run = guest_run,
                                .interrupt = guest_interrupt,
                                .memory = guest_memory,
                                .forget = tm__hostjob_forget};

/* ---- options ---- */

static const tm_pool_options defaults = {.struct_size =
                                             sizeof(tm_pool_options)};

void tm_pool_options_init_sized(tm_pool_options *o, size_t size) {
  tm__options_init(o, size, &defaults, sizeof *o);
}

/* The one place that knows which kinds there are. */
static int choose_kind(const tm_runtime *rt, const tm_pool_options *o,
                       const tm__worker_kind **out, tm_error *e) {
  switch (o->kind) {
  case TM_POOL_THREAD: *out = &tm__worker_thread; return TM_OK;
  case TM_POOL_FAKE: *out = &tm__worker_inline; return TM_OK;
  case TM_POOL_PROCESS: *out = tm__worker_process_kind(rt); return TM_OK;
  default:
    return tm__fail(e, TM_EINVAL, "tm_pool_new: unknown kind %d", o->kind);
  }
}

static int choose_pin(const tm_runtime *rt, int pin) {
  if (pin == TM_PIN_AUTO) return atomic_load(&rt->pin);
  return pin == TM_PIN_YES ? TM__PIN_YES : TM__PIN_NO;
}

static int default_workers(tm_runtime *rt, int kind) {
  return atomic_load(kind == TM_POOL_PROCESS ? &rt->processes : &rt->threads);
}

static int read_options(tm_runtime *rt, const tm_pool_options *given,
                        tm__pool_options *out, tm_error *e) {
  tm_pool_options o = defaults;
  int status = tm__options_read(&o, sizeof o, given, "tm_pool_options_init", e);
  if (status) return status;
  if (o.workers < 0 || o.workers > MOST_WORKERS)
    return tm__fail(e, TM_EINVAL,
                    "tm_pool_new: workers must be 0 to %d (got %d)",
                    MOST_WORKERS, o.workers);
  if (o.pin < TM_PIN_AUTO || o.pin > TM_PIN_YES)
    return tm__fail(e, TM_EINVAL, "tm_pool_new: unknown pin %d", o.pin);
  *out = (tm__pool_options){.guest = &guest, .pin = choose_pin(rt, o.pin)};
  status = choose_kind(rt, &o, &out->kind, e);
  if (o.kind == TM_POOL_FAKE)
    out->workers = 1;
  else
    out->workers = o.workers ? o.workers : default_workers(rt, o.kind);
  return status;
}

/* ---- life ---- */

static void init_turn(tm_pool *p) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&p->turn, &recursive);
  pthread_mutexattr_destroy(&recursive);
}

static tm_pool *allocate(tm_runtime *rt) {
  tm_pool *p = tm__calloc(&rt->mem, 1, sizeof *p);
  if (!p) return NULL;
  p->rt = tm__runtime_ref(rt);
  init_turn(p);
  return p;
}

static void discard(tm_pool *p) {
  tm_runtime *rt = p->rt;
  pthread_mutex_destroy(&p->turn);
  tm__free(&rt->mem, p);
  tm__runtime_unref(rt);
}

static void end(tm__pool *pool) {
  tm__pool_terminate(pool);
  tm__pool_join(pool, NULL, NULL);
  tm__pool_unref(pool);
}

static void *end_elsewhere(void *pool) {
  end(pool);
  return NULL;
}

int tm_pool_new(tm_pool **out, tm_runtime *rt, const tm_pool_options *options,
                tm_error *e) {
  tm__pool_options o;
  tm__pool *pool;
  if (!out) return tm__host_null(e, "tm_pool_new");
  *out = NULL;
  int status = tm__host_open(rt, "tm_pool_new", e);
  if (!status) status = read_options(rt, options, &o, e);
  if (status) return status;
  tm_pool *p = allocate(rt);
  if (!p) return tm__fail(e, TM_ENOMEM, "not enough memory for a pool");
  status = tm__pool_new(&pool, rt, &o, e);
  if (!status) {
    status = tm__runtime_own(rt, &p->owned, pool, e);
    if (status) end(pool);
  }
  if (status) {
    discard(p);
    return status;
  }
  *out = p;
  return TM_OK;
}

static bool on_worker(const tm_pool *p) {
  const tm__worker *self = tm__worker_self();
  return self && self->pool == p->owned.pool;
}

/* A worker cannot await its own end. */
void tm_pool_free(tm_pool *p) {
  pthread_t thread;
  if (!p) return;
  tm__pool *pool = p->owned.pool;
  tm__runtime_disown(p->rt, &p->owned);
  if (!on_worker(p)) {
    end(pool);
  } else {
    tm__pool_terminate(pool);
    if (pthread_create(&thread, NULL, end_elsewhere, pool) == 0)
      pthread_detach(thread);
  }
  discard(p);
}

/* ---- ends ---- */

int tm__hostpool_open(tm_pool *p, const char *function, tm_error *e) {
  if (!p) return tm__host_null(e, function);
  int state = tm__pool_state_of(p->owned.pool);
  if (state == TM__OPEN) return TM_OK;
  if (state == TM__CLOSED && tm__worker_here(p->owned.pool)) return TM_OK;
  return tm__fail(e, TM_ECLOSED, "%s: the %s is closed", function,
                  atomic_load(&p->rt->closed) ? "runtime" : "pool");
}

int tm_pool_workers(const tm_pool *p) {
  return p ? p->owned.pool->nworkers : 0;
}

int tm_pool_close(tm_pool *p, tm_error *e) {
  if (!p) return tm__host_null(e, "tm_pool_close");
  tm__pool_close(p->owned.pool);
  return TM_OK;
}

int tm_pool_terminate(tm_pool *p, tm_error *e) {
  if (!p) return tm__host_null(e, "tm_pool_terminate");
  atomic_store(&p->owned.stopped, TM__FAIL_CANCELLED);
  tm__pool_terminate(p->owned.pool);
  return TM_OK;
}

static bool late(void *end) { return tm__now() >= *(const uint64_t *)end; }

int tm_pool_join(tm_pool *p, double timeout, tm_error *e) {
  if (!p) return tm__host_null(e, "tm_pool_join");
  if (on_worker(p) || tm__region_inside_pool(p->owned.pool))
    return tm__fail(e, TM_ETHREAD, "a worker cannot join its own pool");
  if (tm__pool_state_of(p->owned.pool) == TM__OPEN)
    return tm__fail(e, TM_EINVAL, "tm_pool_join: close the pool first");
  uint64_t limit = tm__host_timeout(timeout), until = tm__now() + limit;
  int status =
      tm__pool_join(p->owned.pool, limit == TM__FOREVER ? NULL : late, &until);
  if (status == TM_OK) return TM_OK;
  return tm__fail(e, TM_ETIMEOUT, "the pool's workers go on");
}
