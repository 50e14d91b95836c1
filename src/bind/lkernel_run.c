#include <math.h>
#include <stdio.h>

#include "bind/error.h"
#include "bind/larray.h"
#include "bind/ljob.h"
#include "bind/lkernel.h"
#include "bind/lpool.h"
#include "bind/unwind.h"
#include "run/batch.h"
#include "run/region.h"

/* ---- arguments ---- */

/* The arguments of a run, checked; on the C stack of who runs it. */
typedef struct run {
  tm__kernel *kernel;
  int64_t first, last, chunk;
  uint64_t timeout; /* ns; 0: none */
  tm_arg args[TM__PARAM_LIMIT];
} run;

static const char *describe(lua_State *L, int index) {
  switch (lua_type(L, index)) {
  case LUA_TNIL: return "nil";
  case LUA_TBOOLEAN: return "a boolean";
  case LUA_TSTRING: return "a string";
  case LUA_TTABLE: return "a table";
  case LUA_TFUNCTION: return "a function";
  default: return luaL_typename(L, index);
  }
}

static void read_array(const tm__array *a, tm__value *out) {
  out->kind = TM__VALUE_ARRAY;
  out->readonly = a->readonly;
  out->arg.p = a->data;
  out->arg.n = (int64_t)a->n;
  out->arg.shape = (const int64_t *)a->shape;
  out->arg.rank = a->rank;
  out->arg.dtype = a->dtype;
}

static void read_value(lua_State *L, int index, tm__value *out) {
  if (lua_isinteger(L, index)) {
    out->kind = TM__VALUE_INT;
    out->arg.i = lua_tointeger(L, index);
  } else if (lua_type(L, index) == LUA_TNUMBER) {
    out->kind = TM__VALUE_FLOAT;
    out->arg.f = lua_tonumber(L, index);
  } else {
    const tm__arraybox *a = tm__array_to(L, index);
    if (a) {
      read_array(&a->array, out);
    } else {
      out->kind = TM__VALUE_OTHER;
      out->what = describe(L, index);
    }
  }
}

/* The values from index `first` up, against the signature. */
static void read_args(lua_State *L, int first, run *r) {
  tm_error e;
  tm__value values[TM__PARAM_LIMIT];
  int n = lua_gettop(L) - first + 1;
  if (n > TM__PARAM_LIMIT) luaL_error(L, "too many arguments (%d)", n);
  if (n < 0) n = 0;
  for (int i = 0; i < n; i++) read_value(L, first + i, &values[i]);
  if (tm__signature_check(&r->kernel->signature, r->kernel->name, values, n,
                          r->last, r->args, &e))
    tm__raise(L, &e);
}

static int64_t whole(lua_State *L, int index, const char *what) {
  int is;
  lua_Integer n = lua_tointegerx(L, index, &is);
  if (!is || lua_type(L, index) != LUA_TNUMBER)
    luaL_error(L, "%s must be a whole number (got %s)", what,
               luaL_tolstring(L, index, NULL));
  return n;
}

static void unknown_option(lua_State *L, int index) {
  static const char *const names[] = {"chunksize", "timeout", "callback",
                                      "error_callback", "name"};
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.nearest");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "unknown");
  lua_pushliteral(L, "option");
  lua_pushvalue(L, index);
  lua_createtable(L, 5, 0);
  for (int i = 0; i < 5; i++) {
    lua_pushstring(L, names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 3, 1);
  luaL_error(L, "%s", lua_tostring(L, -1));
}

static uint64_t seconds(lua_State *L, int index) {
  double x = lua_tonumber(L, index);
  if (lua_type(L, index) != LUA_TNUMBER || !(x > 0))
    luaL_error(L,
               "option 'timeout' must be a number of seconds above 0 "
               "(got %s)",
               luaL_tolstring(L, index, NULL));
  return x < 1e9 ? (uint64_t)(x * 1e9) : (uint64_t)1e18;
}

/* The options among the fields of the range at index. What only run_async
   takes was taken out before (kernel.lua). */
static void read_options(lua_State *L, int index, run *r) {
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_isinteger(L, -2)) {
      lua_Integer i = lua_tointeger(L, -2);
      if (i != 1 && i != 2)
        luaL_error(L, "the range must be a number of items or {first, last}");
    } else if (lua_type(L, -2) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -2), "chunksize") == 0) {
      r->chunk = whole(L, -1, "option 'chunksize'");
      if (r->chunk < 1)
        luaL_error(L,
                   "option 'chunksize' must be a whole number from 1 (got "
                   "%I)",
                   (LUAI_UACINT)r->chunk);
    } else if (lua_type(L, -2) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -2), "timeout") == 0) {
      r->timeout = seconds(L, lua_gettop(L));
    } else {
      unknown_option(L, lua_gettop(L) - 1);
    }
    lua_pop(L, 1);
  }
}

/* The items at index: n, {n, ...} or {first, last, ...}, with options. */
static void read_range(lua_State *L, int index, run *r) {
  r->first = 0;
  r->chunk = 0;
  r->timeout = 0;
  if (lua_isinteger(L, index)) {
    r->last = lua_tointeger(L, index);
  } else if (lua_istable(L, index)) {
    bool pair = lua_rawgeti(L, index, 2) != LUA_TNIL;
    if (pair) r->last = whole(L, lua_gettop(L), "the range's last");
    lua_rawgeti(L, index, 1);
    int64_t one = whole(L, lua_gettop(L),
                        pair ? "the range's first" : "the number of items");
    if (pair)
      r->first = one;
    else
      r->last = one;
    lua_pop(L, 2);
    read_options(L, index, r);
  } else {
    r->last = whole(L, index, "the number of items");
  }
  if (r->first < 0)
    luaL_error(L, "the range begins before item 0 (at %I)",
               (LUAI_UACINT)r->first);
  if (r->last < r->first)
    luaL_error(L, "the range ends before it begins (%I to %I)",
               (LUAI_UACINT)r->first, (LUAI_UACINT)r->last);
}

/* Stack from `index`: kernel, range, arguments. */
static void read_run(lua_State *L, int index, const char *method, run *r) {
  r->kernel = tm__kernel_to(L, index);
  if (!r->kernel)
    luaL_error(L, "bad argument #1 to '%s' (kernel expected, got %s)", method,
               luaL_typename(L, index));
  if (lua_gettop(L) == index)
    luaL_error(L, "kernel '%s': how many items? (a number, or {first, last})",
               r->kernel->name);
  read_range(L, index + 1, r);
  read_args(L, index + 2, r);
}

/* ---- results ---- */

/* Pushes the reduction, if there is one; answers how many values. */
static int push_result(lua_State *L, const tm__kernel *k, const void *from) {
  const tm__reduce *r = &k->reduce;
  const double *f64 = from;
  const int64_t *i64 = from;
  if (!from) return 0;
  if (r->count > 1) lua_createtable(L, (int)r->count, 0);
  for (int64_t i = 0; i < r->count; i++) {
    if (r->dtype == TM_F64)
      lua_pushnumber(L, f64[i]);
    else
      lua_pushinteger(L, i64[i]);
    if (r->count > 1) lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* Pushes the error of a call that failed or was stopped. */
static void push_error(lua_State *L, tm__call *c) {
  const char *name = c->kernel->name;
  int why = tm__call_stopped(c);
  if (tm__call_failed(c)) {
    tm__error_push(L, TM__FAIL_TASK, c->failure);
    lua_pushinteger(L, atomic_load(&c->fail_at));
    lua_setfield(L, -2, "item");
  } else {
    char text[120];
    snprintf(text, sizeof text, "kernel '%.60s' %s", name,
             why == TM__FAIL_TIMEOUT       ? "ran out of time"
             : why == TM__FAIL_INTERRUPTED ? "was interrupted"
                                           : "was cancelled");
    tm__error_push(L, why, text);
  }
  lua_pushstring(L, name);
  lua_setfield(L, -2, "task");
}

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
    tm__call_stop(a->call, TM__FAIL_CANCELLED);
  else if (tm__interrupted_in(a->L, a->state))
    tm__call_stop(a->call, TM__FAIL_INTERRUPTED);
  else
    return false;
  return true;
}

static int raise_error(lua_State *L, tm__call *c) {
  int why = tm__call_stopped(c);
  push_error(L, c);
  tm__call_term(c);
  if (why) tm__unwind_check(L);
  if (why == TM__FAIL_INTERRUPTED) tm__interrupt_seen(L);
  return lua_error(L);
}

/* Runs on a pool, or with NULL in the caller. */
static int run_call(lua_State *L, tm__pool *pool, const run *r) {
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
  int n = push_result(L, r->kernel, result);
  tm__call_term(&c);
  return n;
}

static void check_open(lua_State *L, tm__pool *pool, const char *method) {
  if (tm__pool_state_of(pool) != TM__OPEN && !tm__state_get(L)->worker)
    luaL_error(L, "%s: the pool is closed", method);
}

/* run(pool, kernel, items, ...) -> what the kernel reduces to */
static int pool_run(lua_State *L) {
  run r;
  tm__pool *pool = tm__pool_check(L, 1)->pool;
  check_open(L, pool, "run");
  read_run(L, 2, "run", &r);
  return run_call(L, pool, &r);
}

/* kernel(items, ...): in the caller alone */
int tm__kernel_call(lua_State *L) {
  run r;
  read_run(L, 1, "kernel", &r);
  return run_call(L, NULL, &r);
}

/* ---- run_async ---- */

/* A message that holds the memory of the arrays at index `first` and up. */
static tm__msg *hold_arrays(lua_State *L, int first, tm_error *e) {
  tm_runtime *rt = tm__state_get(L)->rt;
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  int status = TM_OK;
  tm__buf_init(&b, &rt->mem);
  tm__keys_init(&keys, &rt->mem);
  for (int i = first; i <= lua_gettop(L) && !status; i++) {
    const tm__arraybox *a = tm__array_to(L, i);
    if (a) status = tm__keys_hold(&keys, rt->store, a->array.key);
  }
  if (!status && tm__msg_open(&b))
    m = tm__msg_seal(&b, &keys);
  else
    tm__fail(e, TM_ENOMEM, "not enough memory for a run of a kernel");
  tm__keys_term(&keys, rt->store);
  tm__buf_term(&b);
  return m;
}

static tm__spec batch_spec(const run *r) {
  tm__spec spec = {.chunk = r->chunk ? 1 : 0, .all = true};
  snprintf(spec.name, sizeof spec.name, "%s", r->kernel->name);
  return spec;
}

/* Everything but Lua errors is behind us. */
static int make_batch(lua_State *L, tm__pool *pool, const run *r,
                      tm__jobbox *out, tm_error *e) {
  tm__batch *b;
  tm__spec spec = batch_spec(r);
  tm__msg *code = hold_arrays(L, 4, e);
  if (!code) return TM_ENOMEM;
  int status = tm__batch_new(&b, pool->rt, r->kernel, r->args, r->first,
                             r->last, r->chunk, r->timeout, e);
  if (status) {
    tm__msg_unref(code, pool->mem, pool->rt->store);
    return status;
  }
  for (int i = 4; i <= lua_gettop(L); i++) {
    const tm__arraybox *a = tm__array_to(L, i);
    if (a) tm__batch_hold(b, a->map);
  }
  tm__items items = {.kind = TM__ITEMS_INTS, .n = (uint64_t)b->call.units};
  status = tm__job_new(&out->job, pool, &spec, &items, code, e);
  if (status) {
    tm__batch_free(b);
    return status;
  }
  out->job->batch = b;
  b->call.watch = &out->job->cancelled;
  return TM_OK;
}

/* run_batch(pool, kernel, items, ..., notify) -> job; notify as submit has
   it */
static int run_batch(lua_State *L) {
  run r;
  tm_error e = {.text = ""};
  tm__pool *pool = tm__pool_check(L, 1)->pool;
  bool notify = lua_toboolean(L, -1);
  lua_pop(L, 1);
  check_open(L, pool, "run_async");
  read_run(L, 2, "run_async", &r);
  tm__jobbox *out = tm__job_push(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  if (make_batch(L, pool, &r, out, &e)) return tm__raise(L, &e);
  tm__inbox *inbox = tm__state_get(L)->inbox;
  if (notify || (inbox && tm__inbox_watched(inbox)))
    tm__inbox_expect(tm__state_inbox(L), out->job);
  if (tm__pool_submit(pool, out->job, &e)) return tm__raise(L, &e);
  if (out->job->inbox && out->job->items.n == 0)
    tm__inbox_push(out->job->inbox, out->job);
  return 1;
}

int tm__kernel_results(lua_State *L, tm__job *job) {
  tm__call *c = &job->batch->call;
  lua_createtable(L, 1, 1);
  lua_pushinteger(L, 1);
  lua_setfield(L, -2, "n");
  lua_newtable(L);
  if (!tm__job_done(job)) return 2;
  if (tm__call_failed(c)) {
    lua_pushinteger(L, 1);
    lua_rawseti(L, -2, 1);
    push_error(L, c);
    lua_rawseti(L, -2, 2);
  } else if (!tm__call_stopped(c)) {
    const void *result;
    tm__call_finish(c, &result);
    lua_createtable(L, 1, 1);
    int n = push_result(L, c->kernel, result);
    if (n) lua_rawseti(L, -2, 1);
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    lua_rawseti(L, -3, 1);
  }
  return 2;
}

void tm__kernel_register_run(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"run", pool_run}, {"run_batch", run_batch}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
