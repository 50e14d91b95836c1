#include "host/run.h"

#include <stdio.h>
#include <string.h>

#include "host/job.h"
#include "run/config.h"
#include "run/region.h"

/* ---- options ---- */

static const tm_run_options defaults = {.struct_size = sizeof(tm_run_options)};

void tm_run_options_init_sized(tm_run_options *o, size_t size) {
  tm__options_init(o, size, &defaults, sizeof *o);
}

static int read_options(tm__hostrun *r, const char *function, int64_t n,
                        const tm_run_options *given, tm_error *e) {
  tm_run_options *o = &r->options;
  *o = defaults;
  int status = tm__options_read(o, sizeof *o, given, "tm_run_options_init", e);
  if (status) return status;
  if (n < 0)
    return tm__fail(e, TM_EINVAL, "%s: the number of items is negative (%lld)",
                    function, (long long)n);
  if (o->first < 0 || __builtin_add_overflow(o->first, n, &r->last))
    return tm__fail(e, TM_EINVAL, "%s: first is out of range (%lld)", function,
                    (long long)o->first);
  if (o->chunk < 0)
    return tm__fail(e, TM_EINVAL, "%s: chunk must be 0 or more (got %lld)",
                    function, (long long)o->chunk);
  r->first = o->first;
  return TM_OK;
}

/* ---- registered kernels ---- */

static const char *describe(int type) {
  static const char *const names[] = {"nil",      "a boolean",  "an integer",
                                      "a number", "a string",   "an array",
                                      "a key",    "a Lua value"};
  return type >= TM_NIL && type <= TM_OTHER ? names[type]
                                            : "a value of no known type";
}

static void read_value(const tm_value *v, tm__value *out) {
  if (v->type == TM_INTEGER) {
    out->kind = TM__VALUE_INT;
    out->arg.i = v->as.integer;
  } else if (v->type == TM_NUMBER) {
    out->kind = TM__VALUE_FLOAT;
    out->arg.f = v->as.number;
  } else if (v->type == TM_ARRAY && v->as.array) {
    tm__hostarray_value(&v->as.array->array, out);
  } else {
    out->kind = TM__VALUE_OTHER;
    out->what = v->type == TM_ARRAY ? "NULL" : describe(v->type);
  }
}

static const char *argument(const tm__hostrun *r, int i, char out[TM__WHO]) {
  return tm__signature_who(&r->kernel->signature, r->kernel->name, i, out);
}

/* Worker processes see the arena, and files that they can map. */
static int check_shared(const tm__hostrun *r, const tm_pool *p, tm_error *e) {
  const tm__pool *pool = p->owned.pool;
  char who[TM__WHO];
  for (int i = 0; pool->hub && i < r->nargs; i++) {
    const tm_array *a = r->values[i].as.array;
    if (r->values[i].type == TM_ARRAY && a && !a->map &&
        !tm__arena_holds(pool->rt->arena, a->array.data))
      return tm__fail(e, TM_EINVAL,
                      "%s is memory of the host's own, which worker processes "
                      "do not see: copy it into an array of tm_array_new, or "
                      "use threads",
                      argument(r, i, who));
  }
  return TM_OK;
}

/* An array of another runtime is memory that may go before the job. */
static int check_home(const tm__hostrun *r, const tm_runtime *rt, tm_error *e) {
  char who[TM__WHO];
  for (int i = 0; i < r->nargs; i++) {
    const tm_value *v = &r->values[i];
    if (v->type == TM_ARRAY && v->as.array && v->as.array->rt != rt)
      return tm__fail(e, TM_EINVAL, "%s is an array of another runtime",
                      argument(r, i, who));
  }
  return TM_OK;
}

static int read_args(tm__hostrun *r, const tm_runtime *rt, tm_error *e) {
  tm__value values[TM__PARAM_LIMIT];
  const tm__kernel *k = r->kernel;
  if (r->nargs < 0 || r->nargs > TM__PARAM_LIMIT)
    return tm__fail(e, TM_EINVAL, "kernel '%.60s': nargs is out of range (%d)",
                    k->name, r->nargs);
  if (!r->values && r->nargs) return tm__host_null(e, "tm_pool_run");
  for (int i = 0; i < r->nargs; i++) read_value(&r->values[i], &values[i]);
  int status = check_home(r, rt, e);
  if (status) return status;
  return tm__signature_check(&k->signature, k->name, values, r->nargs, r->last,
                             r->args, e);
}

int tm__hostrun_kernel(tm__hostrun *r, tm_pool *p, const char *function,
                       const char *kernel, int64_t n, const tm_value *args,
                       int nargs, const tm_run_options *options, tm_error *e) {
  int status = tm__hostpool_open(p, function, e);
  if (status) return status;
  if (!kernel) return tm__host_null(e, function);
  r->map = NULL;
  r->nargs = nargs;
  r->values = args;
  r->kernel = tm__kernels_find(&p->rt->kernels, NULL, kernel);
  if (!r->kernel)
    return tm__fail(e, TM_EINVAL, "%s: no kernel '%.60s' is registered",
                    function, kernel);
  status = read_options(r, function, n, options, e);
  if (!status) status = read_args(r, p->rt, e);
  return status ? status : check_shared(r, p, e);
}

/* ---- maps ---- */

/* The work is the call's first member's owner (run/call.h). */
static int run_item(const tm_call *c, const tm_arg *args) {
  const tm__work *work = (const tm__work *)(const void *)c;
  const tm__map_of *map = (const tm__map_of *)(const void *)work->call->kernel;
  size_t i = (size_t)(c->first - map->first);
  (void)args;
  return map->fn(c, map->in ? map->in + i * map->in_size : NULL,
                 map->out ? map->out + i * map->out_size : NULL, map->user);
}

int tm__hostrun_map(tm__hostrun *r, tm__map_of *map, tm_pool *p,
                    const char *function, int64_t n,
                    const tm_run_options *options, tm_error *e) {
  int status = tm__hostpool_open(p, function, e);
  if (status) return status;
  if (p->owned.pool->hub)
    return tm__fail(e, TM_EINVAL,
                    "%s: worker processes have neither the memory nor, if they "
                    "are older than it, the function: register a kernel and "
                    "use arrays, or use threads",
                    function);
  if (!map->fn || (!map->in && map->in_size) || (!map->out && map->out_size))
    return tm__host_null(e, function);
  status = read_options(r, function, n, options, e);
  if (status) return status;
  const char *name = r->options.name ? r->options.name : "map";
  snprintf(map->name, sizeof map->name, "%s", name);
  map->kernel = (tm__kernel){.name = map->name,
                             .entry = {.run = run_item, .kind = TM_KIND_ITEM}};
  map->first = r->first;
  r->map = map;
  r->kernel = &map->kernel;
  r->nargs = 0;
  r->values = NULL;
  return TM_OK;
}

/* ---- ends ---- */

int tm__hostrun_result(const tm__kernel *k, const void *result, size_t size,
                       tm_error *e) {
  size_t expected = k->reduce.op == TM__REDUCE_NONE
                        ? 0
                        : (size_t)k->reduce.count * sizeof(double);
  if (!result && !size) return TM_OK;
  if (!expected)
    return tm__fail(e, TM_EINVAL, "kernel '%.60s' has no result", k->name);
  if (result && size == expected) return TM_OK;
  return tm__fail(e, TM_EINVAL,
                  "the result of kernel '%.60s' is %zu bytes (got %s%zu)",
                  k->name, expected, result ? "" : "NULL and ", size);
}

int tm__hostrun_outcome(const tm__kernel *k, const tm__outcome *o,
                        tm_error *e) {
  const char *what = k->entry.run == run_item ? "function" : "kernel";
  if (o->failed && o->core)
    return tm__fail(e, TM_ENOMEM, "%s '%.60s': %.400s", what, k->name, o->text);
  if (o->failed)
    return tm__fail(e, TM_EKERNEL, "%s '%.60s', item %lld: %.400s", what,
                    k->name, (long long)o->item, o->text);
  if (o->kind == TM__FAIL_TIMEOUT)
    return tm__fail(e, TM_ETIMEOUT, "%s '%.60s' ran out of time", what,
                    k->name);
  if (o->kind)
    return tm__fail(e, TM_ECANCELLED, "%s '%.60s' was cancelled", what,
                    k->name);
  return TM_OK;
}

/* ---- on the calling thread and the workers ---- */

/* Runs what was checked, to its end. */
static int run_here(tm_pool *p, const tm__hostrun *r, void *result,
                    size_t result_size, tm_error *e) {
  tm__call c;
  const void *reduced;
  tm__region_options o = {.chunk = r->options.chunk};
  int status =
      tm__call_init(&c, r->kernel, &p->rt->mem, r->args, r->first, r->last, e);
  if (status) return status;
  uint64_t limit = tm__hostrun_limit(r);
  if (limit) c.deadline = tm__now() + limit;
  c.watch = &p->owned.stopped;
  tm__pool *pool = tm__pool_ref(p->owned.pool);
  tm__region_run(pool, &c, &o);
  tm__outcome end;
  tm__call_outcome(&c, &end);
  status = tm__hostrun_outcome(r->kernel, &end, e);
  if (!status) {
    tm__call_finish(&c, &reduced);
    if (result) memcpy(result, reduced, result_size);
  }
  tm__call_term(&c);
  tm__pool_unref(pool);
  return status;
}

int tm_pool_run(tm_pool *p, const char *kernel, int64_t n, const tm_value *args,
                int nargs, void *result, size_t result_size,
                const tm_run_options *options, tm_error *e) {
  tm__hostrun r;
  int status = tm__hostrun_kernel(&r, p, "tm_pool_run", kernel, n, args, nargs,
                                  options, e);
  if (!status) status = tm__hostrun_result(r.kernel, result, result_size, e);
  if (status) return status;
  if (p->owned.pool->hub) return tm__hostjob_run(p, &r, result, result_size, e);
  return run_here(p, &r, result, result_size, e);
}

int tm_pool_map(tm_pool *p, tm_item_fn fn, void *user, int64_t n,
                const void *in, size_t in_size, void *out, size_t out_size,
                const tm_run_options *options, tm_error *e) {
  tm__hostrun r;
  tm__map_of map = {.fn = fn,
                    .user = user,
                    .in = in,
                    .out = out,
                    .in_size = in_size,
                    .out_size = out_size};
  int status = tm__hostrun_map(&r, &map, p, "tm_pool_map", n, options, e);
  return status ? status : run_here(p, &r, NULL, 0, e);
}
