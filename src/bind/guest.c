/*
 * guest.c: workers with a Lua state of their own
 */
#include "bind/guest.h"

#include <string.h>

#include "bind/error.h"
#include "bind/items.h"
#include "bind/larray.h"
#include "bind/ltask.h"
#include "bind/numbers.h"
#include "bind/unpack.h"
#include "bind/unwind.h"
#include "bind/worker_state.h"

/*
 * A job in a worker: a table with the globals that came with it at 1 and up
 * (see unpack.h), and below zero what follows. Its fault, when set, is the
 * error that each item fails with: the code could not be read here.
 */
enum {
  CONTEXT_FUNCTION = -1,
  CONTEXT_KWDS = -2,
  CONTEXT_FAULT = -3,
  CONTEXT_OUT = -4,
  CONTEXT_ITEMS = -5
};

typedef struct context {
  int ref; /* of the table, in the registry */
  uint64_t job;
  bool broken;
  const tm__arraybox *out, *items; /* in the table; NULL: there is none */
  const double *from; /* the elements of `items`, when they are plain f64 */
  double *to;         /* those of `out` */
} context;

/* ---- state ---- */

/* Stack: worker, initializer (light userdata). */
static int run_initializer(lua_State *L) {
  const tm__msg *m = lua_touserdata(L, 2);
  const unsigned char *at = tm__msg_bytes(m);
  lua_newtable(L);
  int n = tm__unpack(L, &at, at + m->len, TM__UNPACK_JOB, lua_gettop(L));
  if (n < 1) return 0;
  tm__task_function(L, lua_gettop(L) - n + 1);
  lua_call(L, n - 1, 0);
  return 0;
}

int tm__guest_initialize(tm__worker *w, lua_State *L, tm_error *e) {
  tm__state *s = tm__state_get(L);
  tm__state *before = tm__unwind_enter(s);
  lua_pushcfunction(L, run_initializer);
  lua_pushlightuserdata(L, w);
  lua_pushlightuserdata(L, w->pool->initializer);
  int status = lua_pcall(L, 2, 0, 0);
  tm__unwind_enter(before);
  if (status == LUA_OK) return TM_OK;
  tm__error_text(L, -1);
  status = tm__fail(e, TM_ELUA, "the pool's initializer failed: %s",
                    lua_tostring(L, -1));
  lua_settop(L, 0);
  return status;
}

static int guest_open(tm__worker *w, void **state, tm_error *e) {
  const tm__paths *paths = w->pool->guest_user;
  tm_error why = {.text = ""};
  lua_State *L = tm__worker_state(w, paths ? paths->path : NULL,
                                  paths ? paths->cpath : NULL, &why);
  if (!L) return tm__fail(e, why.code, "%s", why.text);
  *state = L;
  if (!w->pool->initializer) return TM_OK;
  int status = tm__guest_initialize(w, L, e);
  if (status) lua_close(L);
  return status;
}

static void guest_close(tm__worker *w, void *state) {
  (void)w;
  lua_close(state);
}

static size_t guest_memory(tm__worker *w) {
  lua_State *L = w->state;
  return (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 +
         (size_t)lua_gc(L, LUA_GCCOUNTB);
}

static void guest_interrupt(tm__worker *w) {
  (void)w;
  tm__unwind_arm();
}

/* ---- jobs ---- */

/* package[field] = the string at the top, which is popped; nil: what it was
   when the pool was made. */
static void set_path(lua_State *L, const char *field, const char *known) {
  lua_getglobal(L, LUA_LOADLIBNAME);
  if (lua_istable(L, -1)) {
    if (lua_isstring(L, -2))
      lua_pushvalue(L, -2);
    else
      lua_pushstring(L, known);
    lua_setfield(L, -2, field);
  }
  lua_pop(L, 2);
}

/* The array at the top, or NULL, goes into the table. */
static const tm__arraybox *keep_array(lua_State *L, int table, int at) {
  const tm__arraybox *box = tm__array_to(L, -1);
  lua_rawseti(L, table, at);
  return box;
}

/* The elements of an array when these are numbers as Lua has them. */
static double *plain_floats(const tm__arraybox *box) {
  if (!box || box->array.rank != 1 || box->array.dtype != TM__F64) return NULL;
  return (double *)(void *)box->array.data;
}

/* Stack: job, context (light userdata), the table of the context. */
static int read_code(lua_State *L) {
  tm__job *job = lua_touserdata(L, 1);
  context *c = lua_touserdata(L, 2);
  const tm__msg *m = job->code;
  const unsigned char *at = tm__msg_bytes(m);
  const unsigned char *end = at + m->len;
  const tm__paths *paths = tm__job_pool(job)->guest_user;
  int table = 3;
  /* first where modules are, then what needs them */
  tm__unpack(L, &at, end, TM__UNPACK_PLAIN, 0);
  set_path(L, "cpath", paths->cpath);
  set_path(L, "path", paths->path);
  tm__unpack(L, &at, end, TM__UNPACK_JOB, table);
  lua_settop(L, 7); /* function, kwds, out, items */
  c->items = keep_array(L, table, CONTEXT_ITEMS);
  c->out = keep_array(L, table, CONTEXT_OUT);
  c->from = plain_floats(c->items);
  c->to = plain_floats(c->out);
  lua_rawseti(L, table, CONTEXT_KWDS);
  tm__task_function(L, 4);
  lua_rawseti(L, table, CONTEXT_FUNCTION);
  return 0;
}

/* Stack: job, context. */
static int enter_job(lua_State *L) {
  tm__job *job = lua_touserdata(L, 1);
  context *c = lua_touserdata(L, 2);
  lua_newtable(L);
  lua_pushvalue(L, 3);
  c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushcfunction(L, tm__error_handler);
  lua_pushcfunction(L, read_code);
  lua_pushlightuserdata(L, job);
  lua_pushlightuserdata(L, c);
  lua_pushvalue(L, 3);
  if (lua_pcall(L, 3, 0, 4) == LUA_OK) return 0;
  c->broken = true;
  lua_rawseti(L, 3, CONTEXT_FAULT);
  return 0;
}

static void *guest_enter(tm__worker *w, tm__job *job) {
  lua_State *L = w->state;
  tm__state *s = tm__state_get(L);
  L = s->running;
  context *c = tm__calloc(&w->pool->rt->mem, 1, sizeof *c);
  if (!c || !lua_checkstack(L, 8)) goto failed;
  c->ref = LUA_NOREF;
  c->job = job->id;
  int top = lua_gettop(L);
  tm__state *before = tm__unwind_enter(s);
  lua_pushcfunction(L, enter_job);
  lua_pushlightuserdata(L, job);
  lua_pushlightuserdata(L, c);
  int status = lua_pcall(L, 2, 0, 0);
  tm__unwind_enter(before);
  lua_settop(L, top);
  if (status != LUA_OK) goto failed;
  s->context = job->id;
  return c;
failed:
  tm__free(&w->pool->rt->mem, c);
  return NULL;
}

/* Stack: the context's table. */
static int rest(lua_State *L) {
  tm__state *s = tm__state_get(L);
  if (s->wrapped) {
    tm__unpack_forget(L, 1);
    s->context = 0; /* whose globals are set */
    tm__array_await(L);
  }
  lua_settop(L, 0);
  tm__array_rest(L);
  return 0;
}

/* What the job held may be arrays: they go now, since the worker may sleep
   for long. */
static void guest_leave(tm__worker *w, void *context_) {
  context *c = context_;
  tm__state *s = tm__state_get(w->state);
  lua_State *L = s->running;
  bool holds = s->arrays && lua_checkstack(L, 4);
  if (holds) {
    lua_pushcfunction(L, rest);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  }
  luaL_unref(L, LUA_REGISTRYINDEX, c->ref);
  if (holds && lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  tm__free(&w->pool->rt->mem, c);
}

/* Stack: where to say whether there is more (light userdata). */
static int step(lua_State *L) {
  *(bool *)lua_touserdata(L, 1) = tm__array_step(L);
  return 0;
}

static bool guest_rest(tm__worker *w) {
  tm__state *s = tm__state_get(w->state);
  bool more = false;
  if (!s->cycles_due || !lua_checkstack(s->running, 4)) return false;
  lua_pushcfunction(s->running, step);
  lua_pushlightuserdata(s->running, &more);
  if (lua_pcall(s->running, 1, 0, 0) == LUA_OK) return more;
  lua_pop(s->running, 1);
  return false;
}

/* ---- items ---- */

/* A context without its array is broken: the function tells why. */
static int push_array_item(lua_State *L, const context *c, uint64_t i) {
  if (c->from) {
    lua_pushnumber(L, c->from[i]);
    return 1;
  }
  if (c->items) return tm__array_push_item(L, c->items, i);
  lua_pushnil(L);
  return 1;
}

static int push_listed(lua_State *L, const tm__items *items, uint64_t i) {
  tm__number x;
  memcpy(&x, tm__msg_bytes(items->packed) + i * sizeof x, sizeof x);
  if (items->kind == TM__ITEMS_INT_LIST)
    lua_pushinteger(L, x.i);
  else
    lua_pushnumber(L, x.f);
  return 1;
}

static int push_item(lua_State *L, tm__job *job, const context *c, uint64_t i) {
  const unsigned char *at, *end;
  const tm__items *items = &job->items;
  if (items->kind == TM__ITEMS_INTS) {
    lua_pushinteger(L, items->start.i + (lua_Integer)i * items->step.i);
    return 1;
  }
  if (items->kind == TM__ITEMS_FLOATS) {
    lua_pushnumber(L, items->start.f + (lua_Number)i * items->step.f);
    return 1;
  }
  if (items->kind == TM__ITEMS_INT_LIST || items->kind == TM__ITEMS_FLOAT_LIST)
    return push_listed(L, items, i);
  if (!tm__job_item(job, i, &at, &end)) return luaL_error(L, "no such item");
  if (tm__number_push(L, at, end)) return 1;
  if (items->kind != TM__ITEMS_STREAM)
    return tm__unpack(L, &at, end, TM__UNPACK_PLAIN, 0);
  /* an item of a stream brings the globals that it names */
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  int n = tm__unpack(L, &at, end, TM__UNPACK_JOB, lua_gettop(L));
  lua_remove(L, -n - 1);
  return n;
}

static int arguments(lua_State *L, tm__piece *p, uint64_t i) {
  if (p->job->items.kind == TM__ITEMS_ARRAY)
    return push_array_item(L, p->context, i);
  int n = push_item(L, p->job, p->context, i);
  if (!p->job->spec.spread) return n;
  return tm__items_spread(L);
}

static bool write_number(lua_State *L, tm__piece *p, int first, int n) {
  if (n != 1 || lua_type(L, first) != LUA_TNUMBER) return false;
  unsigned char *at = tm__buf_take(&p->out, TM__RECORD_HEAD + TM__NUMBER_SIZE);
  if (!at) luaL_error(L, "not enough memory for a result");
  tm__record_write(at, (tm__record){.tag = TM__REC_OK, .len = TM__NUMBER_SIZE});
  tm__number_write(L, first, at + TM__RECORD_HEAD);
  return true;
}

/* The packer is a value of the guest's own on each stack that this runs
   on. */
static void write_values(lua_State *L, tm__piece *p, tm__packer *packer,
                         int first, int n) {
  packer->self = TM__ITEMS_A;
  tm__items_lend(p, packer);
  packer->L = L;
  packer->crumb = NULL;
  packer->globals = false;
  packer->reader = p->job->owner;
  tm__pack_again(packer);
  tm__pack_values(packer, first, n);
  tm__pack_sections(packer);
  tm__items_lend(p, packer);
}

/* Integers that every float may stand for. */
static bool exact(double x) {
  enum { BITS = 53 };
  const double limit = (double)((int64_t)1 << BITS);
  return x > -limit && x < limit;
}

/* The array gets the number, and the record says no more than that. */
static void write_element(lua_State *L, tm__piece *p, const context *c,
                          uint64_t i, int first, int n) {
  unsigned char *at = tm__buf_take(&p->out, TM__RECORD_HEAD);
  if (!at) luaL_error(L, "not enough memory for a result");
  tm__record_write(at, (tm__record){.tag = TM__REC_OK});
  if (c->to && n == 1 && lua_type(L, first) == LUA_TNUMBER) {
    double x = lua_tonumber(L, first);
    if (exact(x)) {
      c->to[i] = x;
      return;
    }
  }
  tm__array_result(L, c->out, first, n, i);
}

static void result(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                   int first, int n) {
  const context *c = p->context;
  if (c->out) {
    write_element(L, p, c, i, first, n);
    return;
  }
  if (write_number(L, p, first, n)) return;
  size_t at = tm__items_begin(L, &p->out);
  if (p->job->spec.all)
    strcpy(packer->root, "the result");
  else
    tm__pack_item(packer, "the result of item", i + 1);
  write_values(L, p, packer, first, n);
  tm__items_end(&p->out, at, TM__REC_OK, 0);
}

/* Three values: what was raised, its text, the traceback. What was raised
   may be a thing that cannot travel: then its text stands for it. Stack:
   piece, packer, nil, the packer as a value, the three. */
static int pack_failure(lua_State *L) {
  tm__piece *p = lua_touserdata(L, 1);
  tm__packer *packer = lua_touserdata(L, 2);
  write_values(L, p, packer, TM__ITEMS_A + 1, 3);
  return 0;
}

/* Calls pack_failure for the error {value, traceback} at an index; with
   `text`, the text of the value takes its place. */
static int call_pack_failure(lua_State *L, tm__piece *p, tm__packer *packer,
                             int error, bool text) {
  lua_pushcfunction(L, pack_failure);
  lua_pushlightuserdata(L, p);
  lua_pushlightuserdata(L, packer);
  lua_pushnil(L);
  lua_pushvalue(L, TM__ITEMS_A);
  lua_rawgeti(L, error, 1);
  tm__error_text(L, -1);
  if (text) {
    lua_replace(L, -2);
    lua_pushvalue(L, -1);
  }
  lua_rawgeti(L, error, 2);
  return lua_pcall(L, 7, 0, 0);
}

/* An error of ours about a result stands by its message alone: nothing of
   the task's was running. */
static void simplify(lua_State *L, int error) {
  lua_rawgeti(L, error, 1);
  if (tm__error_is(L, -1)) {
    lua_getfield(L, -1, "message");
    lua_rawseti(L, error, 1);
    lua_pushnil(L);
    lua_rawseti(L, error, 2);
  }
  lua_pop(L, 1);
}

static void failure(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                    int kind) {
  enum { ERROR = 2 };
  (void)i;
  size_t at = tm__items_begin(L, &p->out);
  if (kind == TM__FAIL_SEND) simplify(L, ERROR);
  if (call_pack_failure(L, p, packer, ERROR, false) != LUA_OK) {
    tm__items_recover(p, packer);
    p->out.len = at + TM__RECORD_HEAD;
    if (call_pack_failure(L, p, packer, ERROR, true) != LUA_OK) lua_error(L);
  }
  tm__items_end(&p->out, at, TM__REC_FAIL, kind);
}

static const tm__items_ops own_ops = {
    .arguments = arguments, .result = result, .failure = failure};

/* Every item fails as the code did when it was read. */
static int fault_function(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return lua_error(L);
}

static void push_function(lua_State *L, const context *c, int table) {
  if (!c->broken) {
    lua_rawgeti(L, table, CONTEXT_FUNCTION);
    return;
  }
  if (lua_rawgeti(L, table, CONTEXT_FAULT) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -2);
  }
  lua_pushcclosure(L, fault_function, 1);
}

/* Stack: piece. */
static int run_piece(lua_State *L) {
  tm__piece *p = lua_touserdata(L, 1);
  context *c = p->context;
  tm__state *s = tm__state_get(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  if (s->context != p->job->id) {
    tm__unpack_globals(L, 2);
    s->context = p->job->id;
  }
  tm__packer *packer = tm__packer_push(L, NULL);
  int self = packer->self;
  tm__buf_term(&packer->buf); /* it borrows the piece's */
  lua_rawgeti(L, 2, CONTEXT_KWDS);
  push_function(L, c, 2);
  lua_pushvalue(L, self);
  lua_pushnil(L);
  tm__items_run(L, p, packer, &own_ops);
  packer->self = self;
  packer->L = L;
  tm__packer_rest(L, packer);
  return 0;
}

static void guest_run(tm__piece *p) {
  tm__state *s = tm__state_get(p->worker->state);
  lua_State *L = s->running;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return;
  lua_pushcfunction(L, run_piece);
  lua_pushlightuserdata(L, p);
  lua_pcall(L, 1, 0, 0);
  lua_settop(L, top);
}

static void guest_dispose(void *user) {
  tm__paths *paths = user;
  const tm__mem *mem = paths->mem;
  tm__free(mem, paths->path);
  tm__free(mem, paths->cpath);
  tm__free(mem, paths);
}

const tm__guest tm__guest_own = {.open = guest_open,
                                 .close = guest_close,
                                 .enter = guest_enter,
                                 .leave = guest_leave,
                                 .rest = guest_rest,
                                 .run = guest_run,
                                 .interrupt = guest_interrupt,
                                 .memory = guest_memory,
                                 .dispose = guest_dispose};

const tm__guest tm__guest_forked = {.open = tm__forked_open,
                                    .close = tm__forked_close,
                                    .enter = guest_enter,
                                    .leave = guest_leave,
                                    .run = guest_run,
                                    .interrupt = guest_interrupt,
                                    .inherit = tm__forked_inherit,
                                    .memory = tm__forked_memory,
                                    .dispose = guest_dispose};
