#include <stdio.h>

#include "bind/error.h"
#include "bind/larray.h"
#include "bind/ljob.h"
#include "bind/lkernel.h"
#include "bind/lkernel_args.h"
#include "bind/lpool.h"
#include "bind/unwind.h"
#include "run/region.h"

/* ---- running ---- */

/* Whether the script's own thread should stop, asked between chunks. */
typedef struct asker {
  lua_State *L;
  tm__state *state;
  tm__worker *self;
  tm__call *call;
} asker;

static bool ask(void *argument) {
  const asker *a = argument;
  int kind = 0;
  if (a->self && tm__worker_unwind(a->self, &kind) >= 0)
    kind = TM__FAIL_CANCELLED;
  else if (tm__interrupted_in(a->L, a->state))
    kind = TM__FAIL_INTERRUPTED;
  else
    return false;
  tm__call_stop(a->call, kind);
  return true;
}

static int raise_error(lua_State *L, tm__call *c) {
  int why = tm__call_stopped(c);
  tm__outcome o;
  tm__call_outcome(c, &o);
  const tm__kernel *k = c->kernel;
  tm__call_term(c);
  tm__kernel_push_error(L, k, &o);
  if (why) tm__unwind_check(L);
  if (why == TM__FAIL_INTERRUPTED) tm__interrupt_seen(L);
  return lua_error(L);
}

/* Runs on a pool, or with NULL in the caller. */
static int run_call(lua_State *L, tm__pool *pool, const tm__kernel_run *r) {
  tm_error e;
  tm__call c;
  tm__state *s = tm__state_get(L);
  asker a = {.L = L, .state = s, .self = tm__worker_self(), .call = &c};
  tm__region_options o = {.chunk = r->chunk, .poll = ask, .poll_argument = &a};
  const void *result;
  if (tm__call_init(&c, r->kernel, &s->rt->mem, r->args, r->first, r->last, &e))
    return tm__raise(L, &e);
  if (r->timeout) c.deadline = tm__now() + r->timeout;
  tm__region_run(pool, &c, &o);
  if (tm__call_failed(&c) || tm__call_stopped(&c)) return raise_error(L, &c);
  tm__call_finish(&c, &result);
  int n = tm__kernel_push_result(L, r->kernel, result);
  tm__call_term(&c);
  return n;
}

static void check_open(lua_State *L, tm__pool *pool, const char *method) {
  if (tm__pool_state_of(pool) != TM__OPEN && !tm__state_get(L)->worker)
    luaL_error(L, "%s: the pool is closed", method);
}

/* ---- jobs ---- */

/* A message that holds the memory of the arrays at index `first` and up. */
static tm__msg *hold_arrays(lua_State *L, tm__pool *pool, int first,
                            tm_error *e) {
  tm__store *store = pool->rt->store;
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  int status = TM_OK;
  tm__buf_init(&b, pool->mem);
  tm__keys_init(&keys, pool->mem);
  for (int i = first; i <= lua_gettop(L) && !status; i++) {
    const tm__arraybox *a = tm__array_to(L, i);
    if (a) status = tm__keys_hold(&keys, store, a->array.key);
  }
  if (!status && tm__msg_open(&b))
    m = tm__msg_seal(&b, &keys);
  else
    tm__fail(e, TM_ENOMEM, "not enough memory for a run of a kernel");
  if (m && pool->hub) tm__msg_pass(m, store);
  tm__keys_term(&keys, store);
  tm__buf_term(&b);
  return m;
}

/* A stuck thread cannot be helped; a process can be killed. */
static tm__spec job_spec(const tm__kernel_run *r, const tm__pool *pool) {
  tm__spec spec = {.chunk = r->chunk ? 1 : 0,
                   .retries = r->retries,
                   .timeout = pool->hub ? r->timeout : 0,
                   .all = true};
  snprintf(spec.name, sizeof spec.name, "%s", r->kernel->name);
  return spec;
}

/* The batch knows where the arrays at index `first` and up are. */
static void map_arrays(lua_State *L, int first, tm__batch *b) {
  for (int i = first; i <= lua_gettop(L); i++) {
    const tm__arraybox *a = tm__array_to(L, i);
    if (a && a->map)
      tm__batch_map(b, i - first, a->map, a->array.key, a->array.offset);
  }
}

/* Stack from `first`: the arguments. Everything but Lua errors is behind
   us. */
static int make_job(lua_State *L, tm__pool *pool, const tm__kernel_run *r,
                    int first, tm__jobbox *out, tm_error *e) {
  tm__batch *b;
  tm__spec spec = job_spec(r, pool);
  tm__batch_spec what = {.kernel = r->kernel,
                         .args = r->args,
                         .first = r->first,
                         .last = r->last,
                         .chunk = r->chunk,
                         .timeout = r->timeout};
  tm__msg *code = hold_arrays(L, pool, first, e);
  if (!code) return TM_ENOMEM;
  int status = tm__batch_new(&b, pool, &what, e);
  if (status) {
    tm__msg_unref(code, pool->mem, pool->rt->store);
    return status;
  }
  map_arrays(L, first, b);
  tm__items items = {.kind = TM__ITEMS_INTS, .n = (uint64_t)b->plan.units};
  status = tm__job_new(&out->job, pool, &spec, &items, code, e);
  if (status)
    tm__batch_free(b);
  else
    out->job->batch = b;
  return status;
}

/* Worker processes see what is in the arena, and files. */
static void check_shared(lua_State *L, tm__pool *pool, const tm__kernel *k,
                         int first) {
  char who[TM__WHO];
  for (int i = first; pool->hub && i <= lua_gettop(L); i++) {
    const tm__arraybox *a = tm__array_to(L, i);
    if (a && !a->map && !tm__arena_holds(pool->rt->arena, a->array.data))
      luaL_error(L,
                 "%s is memory of the host program's own, which worker "
                 "processes do not see: copy it, or use threads",
                 tm__signature_who(&k->signature, k->name, i - first, who));
  }
}

/* Stack: pool, kernel, range, arguments. Pushes the job, made but not
   submitted. */
static tm__jobbox *push_job(lua_State *L, tm__pool *pool,
                            const tm__kernel_run *r) {
  tm_error e = {.text = ""};
  check_shared(L, pool, r->kernel, 4);
  tm__jobbox *out = tm__job_push(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  lua_insert(L, 1); /* the arguments are at the top */
  if (make_job(L, pool, r, 5, out, &e)) tm__raise(L, &e);
  lua_pushvalue(L, 1);
  return out;
}

static void submit(lua_State *L, tm__pool *pool, tm__job *job) {
  tm_error e = {.text = ""};
  if (tm__pool_submit(pool, job, &e)) tm__raise(L, &e);
}

/* Pushes what the kernel reduced to; answers how many values. */
static int push_reduced(lua_State *L, const tm__job *job) {
  const void *result;
  tm__batch_finish(job->batch, &result);
  return tm__kernel_push_result(L, job->batch->kernel, result);
}

int tm__kernel_results(lua_State *L, tm__job *job) {
  tm__outcome o;
  lua_createtable(L, 1, 1);
  lua_pushinteger(L, 1);
  lua_setfield(L, -2, "n");
  lua_newtable(L);
  if (!tm__job_done(job)) return 2;
  tm__batch_outcome(job, &o);
  if (o.failed) {
    lua_pushinteger(L, 1);
    lua_rawseti(L, -2, 1);
    tm__kernel_push_error(L, job->batch->kernel, &o);
    lua_rawseti(L, -2, 2);
  } else if (!o.kind) {
    lua_createtable(L, 1, 1);
    int n = push_reduced(L, job);
    if (n) lua_rawseti(L, -2, 1);
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    lua_rawseti(L, -3, 1);
  }
  return 2;
}

/* ---- run ---- */

/* How long kernels that were told to stop may take to do so. One that is out
   of time is killed sooner. */
#define GRACE_NS 3000000000u

/* A signal that came before we slept does not wake us. */
#define SLICE_NS 50000000u

/* Waits until it is done, stopped, or `end`. */
static void wait_until(lua_State *L, tm__job *job, uint64_t end, bool stopped) {
  uint64_t now = tm__now();
  while (!tm__job_done(job) && now < end &&
         (stopped || !atomic_load(&job->cancelled))) {
    tm__job_wait(L, job, end - now < SLICE_NS ? end - now : SLICE_NS);
    now = tm__now();
  }
}

/* Waits for a job of worker processes. Those that do not stop are left to the
   pool. */
static void await(lua_State *L, tm__job *job, uint64_t timeout) {
  wait_until(L, job, timeout ? tm__now() + timeout : TM__FOREVER, false);
  if (tm__job_done(job)) return;
  if (!atomic_load(&job->cancelled)) tm__pool_cancel(job, TM__FAIL_TIMEOUT);
  wait_until(L, job, tm__now() + GRACE_NS, true);
}

/* As a job that is waited for: the caller does not take part, so that a
   kernel that crashes takes a worker with it and not the script. */
static int run_in_processes(lua_State *L, tm__pool *pool,
                            const tm__kernel_run *r) {
  tm__outcome o;
  tm__job *job = push_job(L, pool, r)->job;
  submit(L, pool, job);
  await(L, job, r->timeout);
  tm__batch_outcome(job, &o);
  if (!o.kind) return push_reduced(L, job);
  tm__kernel_push_error(L, r->kernel, &o);
  return lua_error(L);
}

/* run(pool, kernel, items, ...) -> what the kernel reduces to */
static int pool_run(lua_State *L) {
  tm__kernel_run r;
  tm__pool *pool = tm__pool_check(L, 1)->pool;
  check_open(L, pool, "run");
  tm__kernel_read(L, 2, "run", &r);
  return pool->hub ? run_in_processes(L, pool, &r) : run_call(L, pool, &r);
}

/* kernel(items, ...): in the caller alone */
int tm__kernel_call(lua_State *L) {
  tm__kernel_run r;
  tm__kernel_read(L, 1, "kernel", &r);
  return run_call(L, NULL, &r);
}

/* ---- run_async ---- */

/* run_batch(pool, kernel, items, ..., notify) -> job; notify as submit has
   it */
static int run_batch(lua_State *L) {
  tm__kernel_run r;
  tm__pool *pool = tm__pool_check(L, 1)->pool;
  bool notify = lua_toboolean(L, -1);
  lua_pop(L, 1);
  check_open(L, pool, "run_async");
  tm__kernel_read(L, 2, "run_async", &r);
  tm__job *job = push_job(L, pool, &r)->job;
  tm__inbox *inbox = tm__state_get(L)->inbox;
  if (notify || (inbox && tm__inbox_watched(inbox)))
    tm__inbox_expect(tm__state_inbox(L), job);
  submit(L, pool, job);
  if (job->inbox && job->items.n == 0) tm__inbox_push(job->inbox, job);
  return 1;
}

void tm__kernel_register_run(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"run", pool_run}, {"run_batch", run_batch}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
