#include "bind/worker_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "bind/items.h"
#include "bind/module.h"
#include "bind/names.h"
#include "bind/new_state.h"
#include "bind/unwind.h"

static int no_exit(lua_State *L) {
  return luaL_error(L, "os.exit was called in a worker");
}

/* As luaB_print, in one write, so that lines of workers do not mix. */
static int whole_print(lua_State *L) {
  int n = lua_gettop(L);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (int i = 1; i <= n; i++) {
    if (i > 1) luaL_addchar(&b, '\t');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&b);
  }
  luaL_addchar(&b, '\n');
  luaL_pushresult(&b);
  size_t len;
  const char *line = lua_tolstring(L, -1, &len);
  fwrite(line, 1, len, stdout);
  fflush(stdout);
  return 0;
}

/* Calls upvalue 1 (os.execute, io.popen) with the mask that the process had,
   so that a pinned worker's children do not inherit its one CPU. */
static int unpinned(lua_State *L) {
  tm__state *s = tm__state_get(L);
  tm__mask mine;
  tm__mask_get(&mine);
  tm__mask_set(&s->rt->mask);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  tm__mask_set(&mine);
  if (status != LUA_OK) return lua_error(L);
  return lua_gettop(L);
}

static void wrap(lua_State *L, const char *library, const char *name) {
  lua_getglobal(L, library);
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, unpinned, 1);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static void set_path(lua_State *L, const char *field, const char *path) {
  if (!path) return;
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_pushstring(L, path);
  lua_setfield(L, -2, field);
  lua_pop(L, 1);
}

void tm__worker_libraries(lua_State *L) {
  tm__unwind_coroutines(L);
  lua_getglobal(L, LUA_OSLIBNAME);
  lua_pushcfunction(L, no_exit);
  lua_setfield(L, -2, "exit");
  lua_pop(L, 1);
}

void tm__host_state(const tm_runtime *rt, lua_State *L) {
  if (!rt->on_state) return;
  lua_settop(L, 0);
  rt->on_state(rt->on_state_user, L);
  lua_settop(L, 0);
  tm__names_host(L);
}

/* Fills the record and the libraries; its arguments are light userdata. */
static int prepare(lua_State *L) {
  tm__worker *w = lua_touserdata(L, 1);
  luaL_openlibs(L);
  tm__module_preload(L, w->pool->rt, w);
  tm__worker_libraries(L);
  tm__items_seed(L, tm__state_get(L), (int64_t)tm__entropy(), 0);
  lua_pushcfunction(L, whole_print);
  lua_setglobal(L, "print");
  if (w->pool->pinned) {
    wrap(L, LUA_OSLIBNAME, "execute");
    wrap(L, LUA_IOLIBNAME, "popen");
  }
  set_path(L, "path", lua_touserdata(L, 2));
  set_path(L, "cpath", lua_touserdata(L, 3));
  tm__host_state(w->pool->rt, L);
  return 0;
}

/* Pops the error. */
static void explain(lua_State *L, int status, tm_error *e) {
  if (status == LUA_ERRMEM)
    tm__fail(e, TM_ENOMEM, "not enough memory for a Lua state");
  else
    tm__fail(e, TM_ELUA, "a worker's Lua state cannot be made: %s",
             lua_isstring(L, -1) ? lua_tostring(L, -1) : "(no message)");
}

lua_State *tm__worker_state(tm__worker *w, const char *path, const char *cpath,
                            tm_error *e) {
  lua_State *L = tm__new_state(&w->pool->rt->mem);
  if (!L) {
    tm__fail(e, TM_ENOMEM, "not enough memory for a Lua state");
    return NULL;
  }
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, w);
  lua_pushlightuserdata(L, (void *)(uintptr_t)path);
  lua_pushlightuserdata(L, (void *)(uintptr_t)cpath);
  int status = lua_pcall(L, 3, 0, 0);
  if (status == LUA_OK) return L;
  explain(L, status, e);
  lua_close(L);
  return NULL;
}
