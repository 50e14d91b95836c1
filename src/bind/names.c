#include "bind/names.h"

#include <string.h>

#include "base/hash.h"

/* ---- reading package.loaded ---- */

bool tm__name_standard(const char *name) {
  static const char *const names[] = {
      LUA_GNAME,      LUA_LOADLIBNAME, LUA_COLIBNAME, LUA_TABLIBNAME,
      LUA_IOLIBNAME,  LUA_OSLIBNAME,   LUA_STRLIBNAME, LUA_MATHLIBNAME,
      LUA_UTF8LIBNAME, LUA_DBLIBNAME,  NULL};
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], name) == 0) return true;
  return strcmp(name, "tidemill") == 0 || strncmp(name, "tidemill.", 9) == 0;
}

/* package.searchpath(name, package[field]): pushes the file, or nothing. */
static bool search(lua_State *L, const char *name, const char *field) {
  int top = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_LOADLIBNAME) == LUA_TTABLE &&
      lua_getfield(L, -1, "searchpath") == LUA_TFUNCTION) {
    lua_pushstring(L, name);
    if (lua_getfield(L, -3, field) == LUA_TSTRING &&
        lua_pcall(L, 2, 1, 0) == LUA_OK && lua_isstring(L, -1)) {
      lua_replace(L, top + 1);
      lua_settop(L, top + 1);
      return true;
    }
  }
  lua_settop(L, top);
  return false;
}

/* Notes in `files` (at index) the file that a module was loaded from. True
   when a fresh state would find the module. */
static bool locate(lua_State *L, const char *name, int files) {
  if (tm__name_standard(name)) return true;
  if (search(L, name, "path")) {
    lua_pushfstring(L, "@%s", lua_tostring(L, -1));
    lua_pushboolean(L, 1);
    lua_rawset(L, files);
    lua_pop(L, 1);
    return true;
  }
  if (!search(L, name, "cpath")) return false;
  lua_pop(L, 1);
  return true;
}

static bool from_a_module(lua_State *L, int index, int files) {
  lua_Debug ar;
  if (lua_iscfunction(L, index)) return true;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &ar);
  lua_pushstring(L, ar.source);
  bool found = lua_rawget(L, files) != LUA_TNIL;
  lua_pop(L, 1);
  /* what tidemill itself is written in has chunk names "=tidemill..." */
  return found || strncmp(ar.source, "=tidemill", 9) == 0;
}

static bool is_code(lua_State *L, int index) {
  if (lua_getmetatable(L, index)) {
    lua_pop(L, 1);
    return true;
  }
  for (lua_pushnil(L); lua_next(L, index);) {
    bool code = lua_type(L, -1) == LUA_TFUNCTION;
    lua_pop(L, 1);
    if (code) {
      lua_pop(L, 1);
      return true;
    }
  }
  return false;
}

static bool travels_by_name(lua_State *L, int index, int files) {
  switch (lua_type(L, index)) {
    case LUA_TFUNCTION: return from_a_module(L, index, files);
    case LUA_TTABLE: return is_code(L, index);
    case LUA_TUSERDATA: return true;
    default: return false;
  }
}

/* One bit of the state's filter, for an address. */
static bool filter(tm__state *s, const void *p, bool set) {
  uint64_t h = tm__mix64((uintptr_t)p);
  uint64_t bit = (uint64_t)1 << (h & 63);
  uint64_t *word = &s->named[h >> 6 & 63];
  if (set) *word |= bit;
  return *word & bit;
}

/* names[value] = name, unless it has a name already. */
static void note(lua_State *L, int names, int value) {
  filter(tm__state_get(L), lua_topointer(L, value), true);
  lua_pushvalue(L, value);
  if (lua_rawget(L, names) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushvalue(L, value);
    lua_insert(L, -2);
    lua_rawset(L, names);
  } else {
    lua_pop(L, 2);
  }
}

/* The module at the top of the stack, and its exports. */
static void note_module(lua_State *L, const char *name, int names,
                        int files) {
  int module = lua_gettop(L);
  if (lua_type(L, module) == LUA_TFUNCTION ||
      lua_type(L, module) == LUA_TTABLE) {
    lua_pushstring(L, name);
    note(L, names, module);
  }
  if (lua_type(L, module) != LUA_TTABLE) return;
  for (lua_pushnil(L); lua_next(L, module); lua_pop(L, 1)) {
    int value = lua_gettop(L);
    if (lua_type(L, value - 1) != LUA_TSTRING) continue;
    if (!travels_by_name(L, value, files)) continue;
    lua_pushstring(L, name);
    lua_pushlstring(L, "\0", 1);
    lua_pushvalue(L, value - 1);
    lua_concat(L, 3);
    note(L, names, value);
  }
}

/* Standard modules first, so that `string.format` is never known as some
   other module's export. */
static void note_modules(lua_State *L, int names, int loaded, int files,
                         bool standard) {
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    const char *name = lua_tostring(L, -2);
    if (tm__name_standard(name) != standard) continue;
    lua_pushstring(L, name);
    bool known = lua_rawget(L, files) != LUA_TNIL;
    lua_pop(L, 1);
    if (known) note_module(L, name, names, files);
  }
}

/* Makes `files`: name of a module -> true, "@file" -> true. */
static void locate_all(lua_State *L, int loaded, int files) {
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    const char *name = lua_tostring(L, -2);
    if (!locate(L, name, files)) continue;
    lua_pushstring(L, name);
    lua_pushboolean(L, 1);
    lua_rawset(L, files);
  }
}

static int64_t count_modules(lua_State *L) {
  int64_t n = 0;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1)) n++;
  lua_pop(L, 1);
  return n;
}

static void read_names(lua_State *L, int names) {
  tm__checkstack(L, 20);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L);
  lua_newtable(L);
  int files = lua_gettop(L);
  locate_all(L, loaded, files);
  note_modules(L, names, loaded, files, true);
  note_modules(L, names, loaded, files, false);
  lua_settop(L, loaded - 1);
}

/* ---- by name and back ---- */

/* Pushes package.loaded[module][field]; nil when there is no such thing. */
static void look(lua_State *L, const char *name, size_t len) {
  size_t head = strlen(name);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushlstring(L, name, head);
  lua_rawget(L, -2);
  lua_replace(L, -2);
  if (head == len) return;
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    return;
  }
  lua_pushlstring(L, name + head + 1, len - head - 1);
  lua_rawget(L, -2);
  lua_replace(L, -2);
}

static bool find(lua_State *L, int index, int names) {
  size_t len;
  lua_pushvalue(L, index);
  if (lua_rawget(L, names) == LUA_TSTRING) {
    const char *name = lua_tolstring(L, -1, &len);
    look(L, name, len);
    bool same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    if (same) return true;
  }
  lua_pop(L, 1);
  return false;
}

void tm__names_refresh(lua_State *L) {
  tm__state *s = tm__state_get(L);
  int64_t modules = count_modules(L);
  if (modules == s->modules) return;
  tm__state_table(L, TM__T_NAMES);
  read_names(L, lua_gettop(L));
  lua_pop(L, 1);
  s->modules = modules;
}

bool tm__name_find(lua_State *L, int index) {
  if (!filter(tm__state_get(L), lua_topointer(L, index), false))
    return false;
  index = lua_absindex(L, index);
  tm__state_table(L, TM__T_NAMES);
  int names = lua_gettop(L);
  bool found = find(L, index, names);
  lua_remove(L, names);
  return found;
}

void tm__name_push(lua_State *L, const char *name, size_t len) {
  look(L, name, len);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_getglobal(L, "require");
  lua_pushlstring(L, name, strlen(name));
  lua_call(L, 1, 1);
  size_t head = strlen(name);
  if (head == len) return;
  if (!lua_istable(L, -1))
    luaL_error(L, "module '%s' is not a table here", name);
  lua_pushlstring(L, name + head + 1, len - head - 1);
  if (lua_rawget(L, -2) == LUA_TNIL)
    luaL_error(L, "module '%s' has no '%s' in this worker", name,
               name + head + 1);
  lua_replace(L, -2);
}
