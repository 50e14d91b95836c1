/*
 * names_host.c: what a host has put into its states, and its workers' too
 */
#include "bind/names.h"

static char host_names; /* its address is the key of a set of names */

/* set["_G.name"] = true for the C functions in the table of globals. */
static void note_globals(lua_State *L, int set) {
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_iscfunction(L, -1)) continue;
    lua_pushfstring(L, LUA_GNAME ".%s", lua_tostring(L, -2));
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
  }
  lua_pop(L, 1);
}

void tm__names_host(lua_State *L) {
  tm__checkstack(L, 8);
  lua_newtable(L);
  int set = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
  }
  lua_pop(L, 1);
  note_globals(L, set);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &host_names);
}

bool tm__names_of_host(lua_State *L, const char *name, bool global) {
  int top = lua_gettop(L);
  bool found = false;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &host_names) == LUA_TTABLE) {
    lua_pushfstring(L, global ? LUA_GNAME ".%s" : "%s", name);
    found = lua_rawget(L, -2) != LUA_TNIL;
  }
  lua_settop(L, top);
  return found;
}
