#include "bind/lpool.h"

#include <string.h>

#include "bind/error.h"
#include "bind/guest.h"
#include "bind/pack.h"
#include "bind/unwind.h"
#include "run/process.h"

static const char pool_type[] = "tidemill.pool";

tm__poolbox *tm__pool_check(lua_State *L, int index) {
  tm__poolbox *box = luaL_checkudata(L, index, pool_type);
  if (!box->pool) luaL_error(L, "the pool was collected");
  if (box->pid != tm__pid())
    luaL_error(L, "the pool is the script's, not this process's");
  return box;
}

/* lua.c, on SIGINT, sets a hook that raises; it does not fire while we wait
   in C. The command counts its signals itself. */
bool tm__interrupted(lua_State *L) {
  return tm__interrupted_in(L, tm__state_get(L));
}

/* The hook of an interrupt would raise once more; others stay. */
void tm__interrupt_seen(lua_State *L) {
  atomic_store(&tm__state_get(L)->rt->interrupted, 0);
  if (tm__hooked(L)) lua_sethook(L, NULL, 0, 0);
}

/* ---- making ---- */

static char *copy(const tm__mem *mem, const char *s) {
  size_t n = s ? strlen(s) + 1 : 1;
  char *p = tm__alloc(mem, n);
  if (p) memcpy(p, s ? s : "", n);
  return p;
}

/* package.path and cpath as they are now. */
static tm__paths *read_paths(lua_State *L, const tm__mem *mem) {
  tm__paths *p = tm__calloc(mem, 1, sizeof *p);
  if (!p) luaL_error(L, "not enough memory");
  p->mem = mem;
  lua_getglobal(L, LUA_LOADLIBNAME);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "cpath");
    p->path = copy(mem, lua_tostring(L, -2));
    p->cpath = copy(mem, lua_tostring(L, -1));
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  return p;
}

static lua_Integer field(lua_State *L, int table, const char *name,
                         lua_Integer otherwise) {
  lua_getfield(L, table, name);
  lua_Integer value = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

/* The initializer and its arguments as a message, or NULL. */
static tm__msg *pack_initializer(lua_State *L, int options,
                                 const tm__mem *mem) {
  if (lua_getfield(L, options, "initializer") == LUA_TNIL) {
    lua_pop(L, 1);
    return NULL;
  }
  tm__packer *p = tm__packer_push_in(L, NULL, mem);
  strcpy(p->root, "the initializer");
  lua_pushvalue(L, p->self - 1);
  lua_getfield(L, options, "initargs");
  int args = lua_gettop(L), n = 0;
  if (lua_istable(L, args)) {
    n = (int)field(L, args, "n", (lua_Integer)lua_rawlen(L, args));
    tm__checkstack(L, n + 8);
    for (int i = 1; i <= n; i++) lua_rawgeti(L, args, i);
  }
  lua_remove(L, args);
  tm__pack_values(p, p->self + 1, n + 1);
  tm__pack_sections(p);
  tm__msg *m = tm__pack_seal(p);
  tm__packer_rest(L, p);
  lua_settop(L, p->self - 2);
  return m;
}

static int pin_policy(lua_State *L, int options, int otherwise) {
  int pin = otherwise;
  lua_getfield(L, options, "pin");
  if (lua_isboolean(L, -1))
    pin = lua_toboolean(L, -1) ? TM__PIN_YES : TM__PIN_NO;
  else if (lua_isstring(L, -1))
    pin = TM__PIN_AUTO;
  lua_pop(L, 1);
  return pin;
}

static bool is_kind(lua_State *L, int options, const char *kind) {
  lua_getfield(L, options, "kind");
  bool same = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), kind) == 0;
  lua_pop(L, 1);
  return same;
}

/* Fork, unless the process has threads that are not ours: they may hold
   locks that nobody would give back in a child. */
static void choose_start(lua_State *L, int table, tm__pool_options *o) {
  lua_getfield(L, table, "start_method");
  const char *method = luaL_optstring(L, -1, "auto");
  o->kind = tm__worker_process_kind(tm__state_get(L)->rt);
  if (strcmp(method, "spawn") == 0) o->kind = &tm__worker_spawn;
  if (strcmp(method, "fork") == 0) o->kind = &tm__worker_fork;
  o->guest = o->kind->forks ? &tm__guest_forked : &tm__guest_own;
  lua_pop(L, 1);
}

static tm__pool_options read_options(lua_State *L, int table) {
  tm__state *s = tm__state_get(L);
  bool fake = is_kind(L, table, "fake");
  bool process = is_kind(L, table, "process");
  int workers = atomic_load(process ? &s->rt->processes : &s->rt->threads);
  tm__pool_options o = {
      .kind = fake ? &tm__worker_inline : &tm__worker_thread,
      .guest = fake ? &tm__guest_direct : &tm__guest_own,
      .workers = fake ? 1 : (int)field(L, table, "workers", workers),
      .max_items = (uint64_t)field(L, table, "max_tasks_per_child", 0),
      .max_memory = (size_t)field(L, table, "max_memory_per_child", 0),
      .pin = pin_policy(L, table, atomic_load(&s->rt->pin))};
  if (fake) return o;
  if (process) choose_start(L, table, &o);
  const tm__mem *mem = tm__pool_memory(s->rt, o.kind);
  o.initializer = pack_initializer(L, table, mem);
  tm__paths *paths = read_paths(L, mem);
  paths->script = process ? s : NULL;
  o.guest_user = paths;
  return o;
}

/* Threads are not there in a child that was forked by others, and what
   processes share is its parent's. */
static tm_runtime *runtime_of(lua_State *L) {
  tm_runtime *rt = tm__state_get(L)->rt;
  if (!is_kind(L, 1, "fake") && !tm__runtime_ours(rt))
    luaL_error(L, "this process was not forked by tidemill: it has no pools");
  return rt;
}

static tm__poolbox *push_box(lua_State *L, bool shared) {
  tm__poolbox *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (tm__poolbox){.shared = shared, .pid = tm__pid()};
  luaL_setmetatable(L, pool_type);
  return box;
}

/* What is left of a pool once its runtime was closed meanwhile. */
static void end_pool(tm__pool *pool) {
  tm__pool_terminate(pool);
  tm__pool_join(pool, NULL, NULL);
  tm__pool_unref(pool);
}

/* A fake pool works in this state alone: nobody else may end it. */
static int make_pool(tm__poolbox *box, tm_runtime *rt,
                     const tm__pool_options *o, tm_error *e) {
  tm__pool *pool;
  int status = tm__pool_new(&pool, rt, o, e);
  if (status) {
    if (o->guest_user) o->guest->dispose(o->guest_user);
    return status;
  }
  if (!o->kind->runs_in_caller)
    status = tm__runtime_own(rt, &box->owned, pool, e);
  if (status)
    end_pool(pool);
  else
    box->pool = pool;
  return status;
}

/* new_pool{kind=, workers=, ...} -> pool; the values were checked. */
static int pool_new(lua_State *L) {
  tm_error e;
  luaL_checktype(L, 1, LUA_TTABLE);
  tm_runtime *rt = runtime_of(L);
  tm__poolbox *box = push_box(L, false);
  tm__pool_options o = read_options(L, 1);
  if (make_pool(box, rt, &o, &e)) return tm__raise(L, &e);
  return 1;
}

/* shared_pool{...} -> the runtime's pool of threads */
static int pool_shared(lua_State *L) {
  tm_error e;
  luaL_checktype(L, 1, LUA_TTABLE);
  tm_runtime *rt = runtime_of(L);
  tm__poolbox *box = push_box(L, true);
  tm__pool_options o = read_options(L, 1);
  int kind = is_kind(L, 1, "process") ? TM__SHARED_PROCESS : TM__SHARED_THREAD;
  int status = tm__runtime_shared(rt, kind, &o, &box->pool, &e);
  if (status || box->pool->guest_user != o.guest_user)
    o.guest->dispose(o.guest_user);
  return status ? tm__raise(L, &e) : 1;
}

/* shared_process_pool() -> the runtime's pool of processes, nil: none yet */
static int pool_shared_process(lua_State *L) {
  tm_runtime *rt = tm__state_get(L)->rt;
  tm__poolbox *box = push_box(L, true);
  if (!tm__runtime_ours(rt)) return 0;
  pthread_mutex_lock(&rt->lock);
  tm__pool *pool = rt->shared[TM__SHARED_PROCESS];
  if (pool) box->pool = tm__pool_ref(pool);
  pthread_mutex_unlock(&rt->lock);
  return pool ? 1 : 0;
}

/* ---- ends ---- */

static int pool_close(lua_State *L) {
  tm__pool_close(tm__pool_check(L, 1)->pool);
  return 0;
}

static int pool_terminate(lua_State *L) {
  tm__pool_terminate(tm__pool_check(L, 1)->pool);
  return 0;
}

static bool stop_join(void *argument) {
  int kind;
  lua_State *L = argument;
  tm__worker *self = tm__worker_self();
  return tm__interrupted(L) || (self && tm__worker_unwind(self, &kind) >= 0);
}

/* join(pool): raises "interrupted" when the user does. */
static int pool_join(lua_State *L) {
  tm__poolbox *box = tm__pool_check(L, 1);
  tm__worker *self = tm__worker_self();
  if (self && self->pool == box->pool && tm__state_get(L)->worker)
    return luaL_error(L, "a worker cannot join its own pool");
  if (tm__pool_state_of(box->pool) == TM__OPEN)
    return luaL_error(L, "join of a pool that is still open: close it first");
  if (tm__pool_join(box->pool, stop_join, L) == TM_OK) return 0;
  tm__unwind_check(L);
  tm__interrupt_seen(L);
  return tm__error_throw(L, TM__FAIL_INTERRUPTED, "interrupted");
}

static int pool_gc(lua_State *L) {
  tm__poolbox *box = luaL_checkudata(L, 1, pool_type);
  tm__pool *pool = box->pool;
  box->pool = NULL;
  if (!pool || box->pid != tm__pid()) return 0;
  if (!box->shared) {
    tm__runtime_disown(pool->rt, &box->owned);
    tm__pool_terminate(pool);
    tm__pool_join(pool, NULL, NULL);
  }
  tm__pool_unref(pool);
  return 0;
}

/* ---- asking ---- */

static const char *state_name(int state) {
  return state == TM__OPEN     ? "open"
         : state == TM__CLOSED ? "closed"
                               : "terminated";
}

/* state(pool) -> "open", "closed" or "terminated" */
static int pool_state(lua_State *L) {
  lua_pushstring(L, state_name(tm__pool_state_of(tm__pool_check(L, 1)->pool)));
  return 1;
}

static int pool_len(lua_State *L) {
  lua_pushinteger(L, tm__pool_check(L, 1)->pool->nworkers);
  return 1;
}

static int pool_tostring(lua_State *L) {
  tm__poolbox *box = luaL_checkudata(L, 1, pool_type);
  if (!box->pool) {
    lua_pushliteral(L, "tidemill pool (collected)");
    return 1;
  }
  lua_pushfstring(L, "tidemill %s pool (%d worker%s, %s)",
                  box->pool->kind->name, box->pool->nworkers,
                  box->pool->nworkers == 1 ? "" : "s",
                  state_name(tm__pool_state_of(box->pool)));
  return 1;
}

static int pool_eq(lua_State *L) {
  lua_pushboolean(L, tm__pool_check(L, 1)->pool == tm__pool_check(L, 2)->pool);
  return 1;
}

/* takes_jobs(pool) -> whether it is a pool that is open, and not a fake one;
   of any value */
static int pool_takes_jobs(lua_State *L) {
  const tm__poolbox *box = luaL_testudata(L, 1, pool_type);
  lua_pushboolean(L, box && box->pool && box->pid == tm__pid() &&
                         !box->pool->kind->runs_in_caller &&
                         tm__pool_state_of(box->pool) == TM__OPEN);
  return 1;
}

/* is_fake(pool): whether it runs in the caller */
static int pool_is_fake(lua_State *L) {
  lua_pushboolean(L, tm__pool_check(L, 1)->pool->kind->runs_in_caller);
  return 1;
}

void tm__pool_register(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", pool_gc},
                                  {"__len", pool_len},
                                  {"__tostring", pool_tostring},
                                  {"__eq", pool_eq},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"new_pool", pool_new},
      {"shared_pool", pool_shared},
      {"close", pool_close},
      {"terminate", pool_terminate},
      {"join", pool_join},
      {"pool_state", pool_state},
      {"is_fake", pool_is_fake},
      {"takes_jobs", pool_takes_jobs},
      {"shared_process_pool", pool_shared_process},
      {NULL, NULL}};
  luaL_newmetatable(L, pool_type);
  luaL_setfuncs(L, meta, 0);
  lua_setfield(L, -2, "pool_meta");
  luaL_setfuncs(L, functions, 0);
}
