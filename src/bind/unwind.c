#include "bind/unwind.h"

enum { GRACE_NS = 50000000, COUNT_WITHOUT_SIGNALS = 10000 };

/* Read by the signal handler on this thread. */
static _Thread_local tm__state *volatile current;

tm__state *tm__unwind_enter(tm__state *s) {
  tm__state *before = current;
  current = s;
  return before;
}

static bool must_unwind(void) {
  int kind;
  tm__worker *w = tm__worker_self();
  return w && tm__worker_unwind(w, &kind) >= 0;
}

/* Hooks that count stay until the items are over. */
static bool counts(const tm__state *s) {
  return !(s->rt->flags & TM_USE_SIGNALS) || !tm__signals_prompt();
}

static void hook(lua_State *L, lua_Debug *ar) {
  tm__state *s = current;
  (void)ar;
  if (!s || !must_unwind()) {
    if (s && !counts(s)) tm__unwind_disarm(s);
    return;
  }
  uint64_t now = tm__now();
  if (s->raised_at && now - s->raised_at < GRACE_NS) return;
  if (!s->raised_at) s->raised_at = now;
  lua_sethook(L, hook, LUA_MASKCOUNT, 1);
  lua_pushlightuserdata(L, &tm__unwind_mark);
  lua_error(L);
}

/* Every kind of event, so that it fires at once; lua.c sets its own in the
   same way (laction). */
static void arm(tm__state *s, lua_State *L) {
  if (lua_gethook(L) != hook) {
    s->old_hook = lua_gethook(L);
    s->old_mask = lua_gethookmask(L);
    s->old_count = lua_gethookcount(L);
  }
  lua_sethook(L, hook,
              LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

void tm__unwind_arm(void) {
  tm__state *s = current;
  if (s && s->running) arm(s, s->running);
}

void tm__unwind_begin(tm__state *s, lua_State *L, bool timed) {
  if (!counts(s) || (!timed && tm__signals_prompt())) return;
  arm(s, L);
  lua_sethook(L, hook, LUA_MASKCOUNT, COUNT_WITHOUT_SIGNALS);
}

void tm__unwind_disarm(tm__state *s) {
  s->raised_at = 0;
  if (lua_gethook(s->running) != hook) return;
  lua_sethook(s->running, s->old_hook, s->old_mask, s->old_count);
}

void tm__unwind_check(lua_State *L) {
  if (!must_unwind()) return;
  lua_pushlightuserdata(L, &tm__unwind_mark);
  lua_error(L);
}

/* ---- coroutines of worker states ---- */

static lua_State *check_coroutine(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

/* Resumes co with n arguments from L, as lcorolib.c's auxresume; answers the
   number of results on L, or -1 with the error there. */
static int resume(lua_State *L, lua_State *co, int n) {
  tm__state *s = tm__state_get(L);
  int results;
  if (!lua_checkstack(co, n)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, n);
  s->running = co;
  if (must_unwind()) arm(s, co);
  int status = lua_resume(co, L, n, &results);
  s->running = L;
  tm__unwind_check(L);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, results);
  return results;
}

static int co_resume(lua_State *L) {
  lua_State *co = check_coroutine(L);
  int n = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, n >= 0);
  lua_insert(L, n < 0 ? -2 : -(n + 1));
  return n < 0 ? 2 : n + 1;
}

static int close_thread(lua_State *co, lua_State *L) {
#if LUA_VERSION_RELEASE_NUM >= 50406
  return lua_closethread(co, L);
#else
  (void)L;
  return lua_resetthread(co);
#endif
}

static int wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int n = resume(L, co, lua_gettop(L));
  if (n >= 0) return n;
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    close_thread(co, L);
    lua_xmove(co, L, 1);
  }
  if (lua_type(L, -1) == LUA_TSTRING) { /* error position, as lcorolib.c */
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

void tm__unwind_coroutines(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"resume", co_resume}, {"wrap", co_wrap}, {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
