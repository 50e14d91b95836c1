#include "host/job.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "run/batch.h"
#include "run/pool.h"

/* ---- life ---- */

static tm_job *allocate(tm_pool *p, const tm__hostrun *r) {
  tm_job *j = tm__calloc(&p->rt->mem, 1, sizeof *j);
  if (!j) return NULL;
  j->mem = &p->rt->mem;
  j->done = r->options.done;
  j->done_user = r->options.done_user;
  j->map = r->map;
  pthread_mutex_init(&j->lock, NULL);
  return j;
}

static void discard(tm_job *j) {
  pthread_mutex_destroy(&j->lock);
  tm__free(j->mem, j->map);
  tm__free(j->mem, j);
}

void tm__hostjob_forget(tm__job *job) {
  if (job->user) discard(job->user);
}

void tm__hostjob_done(tm__job *job) {
  tm_job *j = job->user;
  while (atomic_load(&j->taken) == TM__SUBMITTING) sched_yield();
  if (j->done && atomic_load(&j->taken) == TM__TAKEN) j->done(j->done_user, j);
}

/* ---- submitting ---- */

/* A message that holds the memory of the arrays among the arguments. */
static tm__msg *hold_arrays(const tm__pool *pool, const tm__hostrun *r,
                            tm_error *e) {
  tm_runtime *rt = pool->rt;
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  int status = TM_OK;
  tm__buf_init(&b, pool->mem);
  tm__keys_init(&keys, pool->mem);
  for (int i = 0; i < r->nargs && !status; i++) {
    const tm_value *v = &r->values[i];
    if (v->type == TM_ARRAY)
      status = tm__keys_hold(&keys, rt->store, v->as.array->array.key);
  }
  if (!status && tm__msg_open(&b))
    m = tm__msg_seal(&b, &keys);
  else
    tm__fail(e, TM_ENOMEM, "not enough memory for a job");
  tm__keys_term(&keys, rt->store);
  tm__buf_term(&b);
  return m;
}

static int make_batch(tm__batch **out, tm__pool *pool, const tm__hostrun *r,
                      tm_error *e) {
  tm__batch_spec spec = {.kernel = r->kernel,
                         .args = r->args,
                         .first = r->first,
                         .last = r->last,
                         .chunk = r->options.chunk,
                         .timeout = tm__hostrun_limit(r)};
  int status = tm__batch_new(out, pool, &spec, e);
  for (int i = 0; i < r->nargs && !status; i++) {
    const tm_array *a = r->values[i].as.array;
    if (r->values[i].type == TM_ARRAY && a->map)
      tm__batch_map(*out, i, a->map, a->array.key, a->array.offset);
  }
  return status;
}

/* The core's job, with a call in it. */
static int make_job(tm__job **out, tm_pool *p, const tm__hostrun *r,
                    tm_error *e) {
  tm__batch *b;
  tm__pool *pool = p->owned.pool;
  tm__spec spec = {.chunk = r->options.chunk ? 1 : 0, .all = true};
  snprintf(spec.name, sizeof spec.name, "%s", r->kernel->name);
  tm__msg *code = hold_arrays(pool, r, e);
  if (!code) return TM_ENOMEM;
  int status = make_batch(&b, pool, r, e);
  if (status) {
    tm__msg_unref(code, pool->mem, p->rt->store);
    return status;
  }
  tm__items items = {.kind = TM__ITEMS_INTS, .n = (uint64_t)b->plan.units};
  status = tm__job_new(out, pool, &spec, &items, code, e);
  if (status) {
    tm__batch_free(b);
    return status;
  }
  (*out)->batch = b;
  return TM_OK;
}

/* The caller is the worker of a fake pool, one thread at a time. */
static void run_inline(tm_pool *p, tm__job *job) {
  pthread_mutex_lock(&p->turn);
  tm__pool_help(p->owned.pool->workers[0], job);
  pthread_mutex_unlock(&p->turn);
}

/* Told by the inbox when somebody wants to know. */
static int watch(tm_runtime *rt, tm_job *j) {
  tm__inbox *box = atomic_load(&rt->inbox);
  if (!j->done && !(box && tm__inbox_watched(box))) return TM_OK;
  box = tm__runtime_inbox(rt);
  if (box) tm__inbox_expect(box, j->job);
  return box ? TM_OK : TM_ENOMEM;
}

/* Whoever polls may call back, and free the job, before this returns: so it
   has a reference of its own. */
static int start(tm_job **out, tm_pool *p, tm_error *e) {
  tm_job *j = *out;
  tm__job *job = tm__job_ref(j->job);
  bool empty = job->items.n == 0;
  int status = watch(p->rt, j);
  if (status) tm__fail(e, status, "not enough memory for a job");
  if (!status) status = tm__pool_submit(p->owned.pool, job, e);
  atomic_store(&j->taken, status ? TM__REFUSED : TM__TAKEN);
  if (status) {
    *out = NULL;
    tm_job_free(j);
  } else {
    if (tm__hostpool_fake(p)) run_inline(p, job);
    if (empty && job->inbox) tm__inbox_push(job->inbox, job);
  }
  tm__job_unref(job);
  return status;
}

/* Submits; r->map is taken over, also on failure. */
static int submit(tm_job **out, tm_pool *p, const tm__hostrun *r, tm_error *e) {
  tm_job *j = allocate(p, r);
  if (!j) {
    tm__free(&p->rt->mem, r->map);
    return tm__fail(e, TM_ENOMEM, "not enough memory for a job");
  }
  int status = make_job(&j->job, p, r, e);
  if (status) {
    discard(j);
    return status;
  }
  j->job->user = j;
  *out = j;
  return start(out, p, e);
}

int tm_pool_run_async(tm_job **job, tm_pool *p, const char *kernel, int64_t n,
                      const tm_value *args, int nargs,
                      const tm_run_options *options, tm_error *e) {
  static const char function[] = "tm_pool_run_async";
  tm__hostrun r;
  if (!job) return tm__host_null(e, function);
  *job = NULL;
  int status =
      tm__hostrun_kernel(&r, p, function, kernel, n, args, nargs, options, e);
  return status ? status : submit(job, p, &r, e);
}

int tm_pool_map_async(tm_job **job, tm_pool *p, tm_item_fn fn, void *user,
                      int64_t n, const void *in, size_t in_size, void *out,
                      size_t out_size, const tm_run_options *options,
                      tm_error *e) {
  static const char function[] = "tm_pool_map_async";
  tm__hostrun r;
  if (!job || !p) return tm__host_null(e, function);
  *job = NULL;
  tm__map_of *map = tm__calloc(&p->rt->mem, 1, sizeof *map);
  if (!map) return tm__fail(e, TM_ENOMEM, "not enough memory for a job");
  map->fn = fn;
  map->user = user;
  map->in = in;
  map->out = out;
  map->in_size = in_size;
  map->out_size = out_size;
  int status = tm__hostrun_map(&r, map, p, function, n, options, e);
  if (!status) return submit(job, p, &r, e);
  tm__free(&p->rt->mem, map);
  return status;
}

/* ---- waiting ---- */

static bool is_done(tm__job *job, void *argument) {
  (void)argument;
  return tm__job_done(job);
}

/* A signal cuts a wait short, which then goes on. */
int tm_job_wait(tm_job *j, double timeout) {
  if (!j) return TM_EINVAL;
  uint64_t limit = tm__host_timeout(timeout), begun = tm__now();
  for (;;) {
    uint64_t spent = limit == TM__FOREVER ? 0 : tm__now() - begun;
    uint64_t left = spent < limit ? limit - spent : 0;
    int status = tm__pool_wait(j->job, tm__worker_self(), is_done, NULL, left);
    if (status != TM_ECANCELLED || tm__job_done(j->job))
      return status == TM_ETIMEOUT ? TM_ETIMEOUT : TM_OK;
    if (tm__worker_must_unwind()) return TM_ECANCELLED;
  }
}

int tm_job_poll(const tm_job *j) { return j && tm__job_done(j->job); }

int tm_job_cancel(tm_job *j) {
  if (!j) return TM_EINVAL;
  if (!tm__job_done(j->job)) tm__pool_cancel(j->job, TM__FAIL_CANCELLED);
  return TM_OK;
}

/* ---- asking ---- */

/* What the core says of an item that no kernel failed. */
static int code_of(const tm__job *job, int kind) {
  if (kind != TM__FAIL_DIED) return TM_ENOMEM;
  bool ended = tm__pool_state_of(job->pool) == TM__TERMINATED;
  return ended ? TM_ECANCELLED : TM_EDIED;
}

static int outcome(tm_job *j, tm_error *e) {
  tm__outcome o;
  if (!tm__job_done(j->job))
    return tm__fail(e, TM_EBUSY, "the job is not done");
  tm__batch_outcome(j->job, &o);
  if (o.failed && o.core)
    return tm__fail(e, code_of(j->job, o.kind), "%.400s", o.text);
  return tm__hostrun_outcome(j->job->batch->kernel, &o, e);
}

static const void *reduce(tm_job *j) {
  pthread_mutex_lock(&j->lock);
  if (!j->reduced) tm__batch_finish(j->job->batch, &j->result);
  j->reduced = true;
  const void *result = j->result;
  pthread_mutex_unlock(&j->lock);
  return result;
}

int tm_job_result(tm_job *j, void *result, size_t result_size, tm_error *e) {
  if (!j) return tm__host_null(e, "tm_job_result");
  int status =
      tm__hostrun_result(j->job->batch->kernel, result, result_size, e);
  if (!status) status = outcome(j, e);
  if (!status && result) memcpy(result, reduce(j), result_size);
  return status;
}

int tm_job_error(tm_job *j, tm_error *e) {
  return j ? outcome(j, e) : tm__host_null(e, "tm_job_error");
}

int64_t tm_job_failed_item(const tm_job *j) {
  tm__outcome o;
  if (!j || !tm__job_done(j->job)) return -1;
  tm__batch_outcome(j->job, &o);
  return o.failed ? o.item : -1;
}

double tm_job_progress(const tm_job *j) {
  if (!j) return 0;
  uint64_t limit = atomic_load(&j->job->limit);
  if (limit == 0 || tm__job_done(j->job)) return 1;
  return (double)atomic_load(&j->job->settled) / (double)limit;
}

void tm_job_free(tm_job *j) {
  if (j && !atomic_exchange(&j->given_up, true)) tm__job_unref(j->job);
}

/* ---- a call in worker processes ---- */

int tm__hostjob_run(tm_pool *p, const tm__hostrun *r, void *result,
                    size_t result_size, tm_error *e) {
  tm_job *j;
  int status = submit(&j, p, r, e);
  if (status) return status;
  status = tm_job_wait(j, TM_FOREVER);
  if (status) {
    tm_job_cancel(j);
    tm__fail(e, status, "the item that waits was cancelled");
  } else {
    status = tm_job_result(j, result, result_size, e);
  }
  tm_job_free(j);
  return status;
}
