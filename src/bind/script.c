#include "bind/script.h"

#include <stdio.h>
#include <string.h>

#include "bind/error.h"
#include "bind/module.h"
#include "bind/new_state.h"
#include "bind/worker_state.h"

/* ---- what C has of the state ---- */

void tm__script_forget(tm__kept *k, const tm_script *s) {
  tm__values_release(k->list, k->count);
  tm__free(&s->rt->mem, k->list);
  *k = (tm__kept){0};
}

/* The list is filled in order, so that an error on the way leaves what was
   made to be released. */
void tm__script_keep(lua_State *L, tm__kept *k, const tm_script *s, int n) {
  int first = lua_gettop(L) - n + 1;
  tm__script_forget(k, s);
  lua_createtable(L, n, 0);
  lua_insert(L, first);
  if (n > 0) {
    k->list = tm__calloc(&s->rt->mem, (size_t)n, sizeof *k->list);
    if (!k->list) tm__value_no_memory(L);
  }
  for (int i = 0; i < n; i++) {
    k->list[i] = tm__value_get(L, first + 1 + i);
    k->count = i + 1;
  }
  for (int i = n; i > 0; i--) lua_rawseti(L, first, i);
  lua_rawsetp(L, LUA_REGISTRYINDEX, k);
}

/* ---- stopping ---- */

enum { HOOK_COUNT = 1000, GRACE_NS = 50000000, MOST_ARGS = 900000 };

/* Whether what runs was called by tidemill's own Lua: a wait there makes an
   error of its own, which says how far the job was. */
static bool in_tidemill(lua_State *L) {
  static const char ours[] = "=tidemill";
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (strcmp(ar.what, "C") != 0)
      return strncmp(ar.source, ours, sizeof ours - 1) == 0;
  }
  return false;
}

/* __close handlers have a moment after the first time. */
static bool in_grace(tm_script *s) {
  uint64_t now = tm__now();
  if (!s->stopped_at) {
    s->stopped_at = now;
    return false;
  }
  return now - s->stopped_at < GRACE_NS;
}

/* A hook that counts far may find each of its ends inside of a pcall: once the
   flag is seen it comes at each instruction, in the coroutine that runs and
   in those that it came from, until the run is over. */
static void stop_hook(lua_State *L, lua_Debug *ar) {
  tm_script *s = *(tm_script **)lua_getextraspace(L);
  (void)ar;
  if (!atomic_load(&s->stop)) {
    lua_sethook(L, stop_hook, LUA_MASKCOUNT, HOOK_COUNT);
    return;
  }
  lua_sethook(L, stop_hook, LUA_MASKCOUNT, 1);
  lua_sethook(s->L, stop_hook, LUA_MASKCOUNT, 1);
  if (!in_tidemill(L) && !in_grace(s)) luaL_error(L, "stopped");
}

static void arm(tm_script *s) {
  int count = atomic_load(&s->stop) ? 1 : HOOK_COUNT;
  s->stopped_at = 0;
  if (s->flags & TM_SCRIPT_STOPPABLE)
    lua_sethook(s->L, stop_hook, LUA_MASKCOUNT, count);
}

int tm_script_stop(tm_script *s) {
  if (!s || !(s->flags & TM_SCRIPT_STOPPABLE)) return TM_EINVAL;
  atomic_store(&s->stop, 1);
  return TM_OK;
}

/* ---- doing things in protected mode ---- */

/* The message handler: the text of what was raised, and the traceback. */
static int explain(lua_State *L) {
  tm__error_text(L, 1);
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  return 1;
}

static void forget_error(tm_script *s) {
  tm__free(&s->rt->mem, s->error);
  s->error = NULL;
  s->error_len = 0;
}

static int keep_text(tm_script *s, int code, const char *text, size_t n,
                     tm_error *e) {
  s->error = tm__alloc(&s->rt->mem, n + 1);
  if (s->error) {
    memcpy(s->error, text, n);
    s->error[n] = '\0';
    s->error_len = n;
  }
  return tm__fail(e, code, "%s", text);
}

static int keep_error(tm_script *s, int status, tm_error *e) {
  size_t n = 0;
  const char *text = lua_tolstring(s->L, -1, &n);
  if (!text) text = "(no message)";
  if (!n) n = strlen(text);
  return keep_text(s, tm__value_code(status, text), text, n, e);
}

static int enter(tm_script *s, const char *function, tm_error *e) {
  if (!s) return tm__host_null(e, function);
  int status = tm__host_open(s->rt, function, e);
  if (status) return status;
  if (!atomic_exchange(&s->busy, true)) return TM_OK;
  return tm__fail(e, TM_EBUSY, "%s: the script is in use", function);
}

/* What the host gave is its own error, not one of the script's. */
static int check_values(const tm__request *r, tm_error *e) {
  tm_error why;
  char where[32] = "";
  for (int i = 0; i < r->nargs; i++) {
    int status = tm__value_check(r->script->rt, &r->args[i], &why);
    if (!status) continue;
    if (r->runs) snprintf(where, sizeof where, "argument %d: ", i + 1);
    return tm__fail(e, status, "%s: %s%.300s", r->function, where, why.text);
  }
  return TM_OK;
}

/* A run that was stopped failed, also when it has caught what was raised. */
static int conclude(tm__request *r, int lua, tm_error *e) {
  static const char text[] = "stopped";
  tm_script *s = r->script;
  bool stopped =
      (r->runs || s->stopped_at) && atomic_exchange(&s->stop, 0) != 0;
  if (lua != LUA_OK) return keep_error(s, lua, e);
  if (r->status || !stopped || !r->runs) return r->status;
  tm__script_forget(&s->results, s);
  return keep_text(s, TM_ELUA, text, sizeof text - 1, e);
}

static int perform(lua_CFunction act, tm__request *r, tm_error *e) {
  tm_script *s = r->script;
  lua_State *L = s->L;
  int top = lua_gettop(L);
  r->error = e;
  forget_error(s);
  if (r->forgets) tm__script_forget(&s->results, s);
  arm(s);
  lua_pushcfunction(L, explain);
  lua_pushcfunction(L, act);
  lua_pushlightuserdata(L, r);
  int status = conclude(r, lua_pcall(L, 1, 0, top + 1), e);
  lua_settop(L, top);
  return status;
}

int tm__script_do(lua_CFunction act, tm__request *r, tm_error *e) {
  tm_script *s = r->script;
  int status = enter(s, r->function, e);
  if (status) return status;
  status = check_values(r, e);
  if (!status) status = perform(act, r, e);
  atomic_store(&s->busy, false);
  return status;
}

/* ---- running ---- */

/* Stack: request, the function and what it needs. Calls it with the request's
   arguments and keeps what it returns. */
static void call(lua_State *L, const tm__request *r) {
  int base = lua_gettop(L) - 1;
  if (!lua_checkstack(L, r->nargs)) tm__value_no_memory(L);
  for (int i = 0; i < r->nargs; i++) tm__value_push(L, r->args[i]);
  lua_call(L, r->nargs, LUA_MULTRET);
  tm__script_keep(L, &r->script->results, r->script, lua_gettop(L) - base);
}

/* That a file cannot be read is no error of a script. */
static int run_file(lua_State *L) {
  size_t n;
  tm__request *r = lua_touserdata(L, 1);
  int lua = luaL_loadfile(L, r->name);
  if (lua == LUA_ERRFILE) {
    const char *text = lua_tolstring(L, -1, &n);
    r->status = keep_text(r->script, TM_ESYS, text, n, r->error);
    return 0;
  }
  if (lua) return lua_error(L);
  call(L, r);
  return 0;
}

static int run_string(lua_State *L) {
  tm__request *r = lua_touserdata(L, 1);
  lua_pushfstring(L, "=%s", r->name ? r->name : "host");
  if (luaL_loadbufferx(L, r->code, strlen(r->code), lua_tostring(L, -1), "t"))
    return lua_error(L);
  lua_remove(L, -2);
  call(L, r);
  return 0;
}

static int call_global(lua_State *L) {
  tm__request *r = lua_touserdata(L, 1);
  tm__script_push_path(L, r->name);
  if (lua_isnil(L, -1))
    return luaL_error(L, "there is no function '%s'", r->name);
  call(L, r);
  return 0;
}

static int check_args(const tm__request *r, tm_error *e) {
  if (r->nargs < 0)
    return tm__fail(e, TM_EINVAL, "%s: nargs is negative (%d)", r->function,
                    r->nargs);
  if (r->nargs > MOST_ARGS)
    return tm__fail(e, TM_EINVAL, "%s: nargs is above %d (%d)", r->function,
                    MOST_ARGS, r->nargs);
  return r->args || !r->nargs ? TM_OK : tm__host_null(e, r->function);
}

/* The results of the run before are gone whatever becomes of this one. */
static int run(lua_CFunction act, tm__request *r, tm_error *e) {
  int status = check_args(r, e);
  r->runs = true;
  r->forgets = true;
  return status ? status : tm__script_do(act, r, e);
}

int tm_script_run_file(tm_script *s, const char *path, const tm_value *args,
                       int nargs, tm_error *e) {
  tm__request r = {.script = s,
                   .function = "tm_script_run_file",
                   .name = path,
                   .args = args,
                   .nargs = nargs};
  return path ? run(run_file, &r, e) : tm__host_null(e, r.function);
}

int tm_script_run_string(tm_script *s, const char *code, const char *name,
                         const tm_value *args, int nargs, tm_error *e) {
  tm__request r = {.script = s,
                   .function = "tm_script_run_string",
                   .name = name,
                   .code = code,
                   .args = args,
                   .nargs = nargs};
  return code ? run(run_string, &r, e) : tm__host_null(e, r.function);
}

int tm_script_call(tm_script *s, const char *function, const tm_value *args,
                   int nargs, tm_error *e) {
  tm__request r = {.script = s,
                   .function = "tm_script_call",
                   .name = function,
                   .args = args,
                   .nargs = nargs};
  int status = tm__script_check_path(&r, e);
  return status ? status : run(call_global, &r, e);
}

/* ---- what it left ---- */

int tm_script_results(tm_script *s) { return s ? s->results.count : 0; }

tm_value tm_script_result(tm_script *s, int i) {
  if (!s || i < 0 || i >= s->results.count) return tm_nil();
  return s->results.list[i];
}

const char *tm_script_error(tm_script *s, size_t *len) {
  if (len) *len = s ? s->error_len : 0;
  return s && s->error ? s->error : "";
}

struct lua_State *tm_script_state(tm_script *s) {
  return s ? s->L : NULL;
}

/* ---- callbacks ---- */

static int note_count(lua_State *L) {
  tm__request *r = lua_touserdata(L, lua_upvalueindex(1));
  *r->out = tm_integer(lua_tointeger(L, 1));
  return 0;
}

/* Nothing is due in a state that never loaded tidemill. */
static int poll(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "tidemill.result") != LUA_TTABLE) return 0;
  lua_getfield(L, -1, "report");
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, note_count, 1);
  lua_call(L, 1, 0);
  return 0;
}

int tm_script_poll(tm_script *s, int *count, tm_error *e) {
  tm_value ran = tm_integer(0);
  tm__request r = {
      .script = s, .function = "tm_script_poll", .out = &ran, .runs = true};
  int status = tm__script_do(poll, &r, e);
  if (count) *count = (int)ran.as.integer;
  return status;
}

int tm_script_fd(tm_script *s) {
  int fd;
  if (!s) return TM_EINVAL;
  int status = enter(s, "tm_script_fd", NULL);
  if (status) return status;
  tm__inbox *box = tm__state_inbox_of(tm__state_find(s->L));
  status = box ? tm__inbox_event(box, &fd, NULL) : TM_ENOMEM;
  atomic_store(&s->busy, false);
  return status ? status : fd;
}

/* ---- life ---- */

static int prepare(lua_State *L) {
  tm_script *s = lua_touserdata(L, 1);
  tm_runtime *rt = s->rt;
  luaL_openlibs(L);
  tm__module_preload(L, rt, NULL);
  tm__state_get(L)->stop = &s->stop;
  lua_settop(L, 0);
  tm__host_state(rt, L);
  return 0;
}

/* An error's text is in e. */
static int open_state(tm_script *s, tm_error *e) {
  s->L = tm__new_state(&s->rt->mem);
  if (!s->L) return tm__fail(e, TM_ENOMEM, "not enough memory for a Lua state");
  *(tm_script **)lua_getextraspace(s->L) = s;
  lua_pushcfunction(s->L, prepare);
  lua_pushlightuserdata(s->L, s);
  int lua = lua_pcall(s->L, 1, 0, 0);
  if (lua == LUA_OK) return TM_OK;
  int status = keep_error(s, lua, e);
  lua_close(s->L);
  return status;
}

static void discard(tm_script *s) {
  tm_runtime *rt = s->rt;
  forget_error(s);
  tm__free(&rt->mem, s);
  tm__runtime_unref(rt);
}

int tm_script_new(tm_script **out, tm_runtime *rt, unsigned flags,
                  tm_error *e) {
  static const char function[] = "tm_script_new";
  if (!out) return tm__host_null(e, function);
  *out = NULL;
  int status = tm__host_open(rt, function, e);
  if (status) return status;
  if (flags & ~TM_SCRIPT_STOPPABLE)
    return tm__fail(e, TM_EINVAL, "%s: unknown flags 0x%x", function, flags);
  tm_script *s = tm__calloc(&rt->mem, 1, sizeof *s);
  if (!s) return tm__fail(e, TM_ENOMEM, "not enough memory for a script");
  s->rt = tm__runtime_ref(rt);
  s->flags = flags;
  status = open_state(s, e);
  if (status) {
    discard(s);
    return status;
  }
  *out = s;
  return TM_OK;
}

void tm_script_free(tm_script *s) {
  if (!s) return;
  tm__script_forget(&s->results, s);
  tm__script_forget(&s->got, s);
  lua_close(s->L);
  discard(s);
}
