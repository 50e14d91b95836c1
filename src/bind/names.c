#include "bind/names.h"

#include <string.h>

#include "base/hash.h"

/* ---- reading package.loaded ---- */

bool tm__name_standard(const char *name) {
  static const char *const names[] = {LUA_GNAME,
                                      LUA_LOADLIBNAME,
                                      LUA_COLIBNAME,
                                      LUA_TABLIBNAME,
                                      LUA_IOLIBNAME,
                                      LUA_OSLIBNAME,
                                      LUA_STRLIBNAME,
                                      LUA_MATHLIBNAME,
                                      LUA_UTF8LIBNAME,
                                      LUA_DBLIBNAME,
                                      NULL};
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

/* Pushes the source of a module, "@file", or true when it is not Lua's; or
   pushes nothing: a fresh state would not find the module. */
static bool locate(lua_State *L, const char *name) {
  if (tm__name_standard(name) || tm__names_of_host(L, name, false)) {
    lua_pushboolean(L, 1);
    return true;
  }
  if (search(L, name, "path")) {
    lua_pushfstring(L, "@%s", lua_tostring(L, -1));
    lua_replace(L, -2);
    return true;
  }
  if (!search(L, name, "cpath")) {
    /* a library with several modules inside is named by the first part */
    const char *dot = strchr(name, '.');
    if (!dot) return false;
    lua_pushlstring(L, name, (size_t)(dot - name));
    bool found = search(L, lua_tostring(L, -1), "cpath");
    lua_settop(L, found ? -3 : -2);
    if (!found) return false;
  } else {
    lua_pop(L, 1);
  }
  lua_pushboolean(L, 1);
  return true;
}

/* ---- what a module exports ---- */

/* The module that is looked at: its name, its source, and what is known of
   all of them (`files`), as stack indices. */
typedef struct module {
  const char *name;
  bool standard;
  int source, files;
} module;

/* Functions of the basic library: what else is in _G is the script's. */
static bool basic(const char *name) {
  static const char *const names[] = {
      "assert",   "collectgarbage", "dofile",   "error",        "getmetatable",
      "ipairs",   "load",           "loadfile", "next",         "pairs",
      "pcall",    "print",          "rawequal", "rawget",       "rawlen",
      "rawset",   "require",        "select",   "setmetatable", "tonumber",
      "tostring", "type",           "warn",     "xpcall",       NULL};
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

/* Who wrote a function: this very module (C functions count as its own),
   another one, or the script. */
enum author { OWN, OTHER, SCRIPT };

static enum author author_of(lua_State *L, int index, const module *m) {
  lua_Debug ar;
  if (lua_iscfunction(L, index)) return OWN;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &ar);
  /* what tidemill itself is written in has chunk names "=tidemill..." */
  if (strncmp(ar.source, "=tidemill", 9) == 0) return OTHER;
  lua_pushstring(L, ar.source);
  bool own = lua_rawequal(L, -1, m->source);
  bool known = lua_rawget(L, m->files) != LUA_TNIL;
  lua_pop(L, 1);
  return own ? OWN : known ? OTHER : SCRIPT;
}

/* How many functions of each author a table holds. */
static void count_functions(lua_State *L, int index, const module *m,
                            int count[3]) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    if (lua_type(L, -1) == LUA_TFUNCTION)
      count[author_of(L, lua_gettop(L), m)]++;
}

/* A table that the module made: it, or else its metatable, holds functions
   of the module; or such of other modules and none of the script's. */
static bool own_table(lua_State *L, int index, const module *m) {
  int count[3] = {0};
  if (m->standard && strcmp(m->name, LUA_LOADLIBNAME) != 0 &&
      strncmp(m->name, "tidemill", 8) != 0)
    return false;
  count_functions(L, index, m, count);
  if (count[OWN] + count[OTHER] + count[SCRIPT] == 0 &&
      lua_getmetatable(L, index)) {
    count_functions(L, lua_gettop(L), m, count);
    lua_pop(L, 1);
  }
  return count[OWN] || (count[OTHER] && !count[SCRIPT]);
}

static bool own_function(lua_State *L, int index, const char *key,
                         const module *m) {
  enum author author = author_of(L, index, m);
  if (strcmp(m->name, LUA_GNAME) == 0)
    return author == OWN && (basic(key) || tm__names_of_host(L, key, true));
  if (!m->standard) return author != SCRIPT;
  return author == OWN ||
         (author == OTHER && strncmp(m->name, "tidemill", 8) == 0);
}

static bool travels_by_name(lua_State *L, int index, const char *key,
                            const module *m) {
  switch (lua_type(L, index)) {
  case LUA_TFUNCTION: return own_function(L, index, key, m);
  case LUA_TTABLE: return own_table(L, index, m);
  case LUA_TUSERDATA:
  case LUA_TLIGHTUSERDATA: return strcmp(m->name, LUA_GNAME) != 0;
  default: return false;
  }
}

/* ---- the table of names ---- */

/* names[value] = name, unless it has a name already. */
static void note(lua_State *L, int names, int value) {
  tm__state *s = tm__state_get(L);
  unsigned bit = tm__name_bit(lua_topointer(L, value));
  s->named[bit / 64] |= (uint64_t)1 << bit % 64;
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
static void note_module(lua_State *L, const module *m, int names) {
  int value, table = lua_gettop(L);
  if (lua_type(L, table) == LUA_TFUNCTION || lua_type(L, table) == LUA_TTABLE) {
    lua_pushstring(L, m->name);
    note(L, names, table);
  }
  if (lua_type(L, table) != LUA_TTABLE) return;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    value = lua_gettop(L);
    if (lua_type(L, value - 1) != LUA_TSTRING) continue;
    if (!travels_by_name(L, value, lua_tostring(L, value - 1), m)) continue;
    lua_pushstring(L, m->name);
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
    int value = lua_gettop(L);
    if (lua_type(L, value - 1) != LUA_TSTRING) continue;
    module m = {.name = lua_tostring(L, value - 1), .files = files};
    m.standard = tm__name_standard(m.name);
    if (m.standard != standard) continue;
    lua_pushvalue(L, value - 1);
    if (lua_rawget(L, files) != LUA_TNIL) {
      m.source = value + 1;
      lua_pushvalue(L, value);
      note_module(L, &m, names);
    }
    lua_settop(L, value);
  }
}

/* Makes `files`: name of a module -> its source, and "@file" -> true. */
static void locate_all(lua_State *L, int loaded, int files) {
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1)) {
    int key = lua_gettop(L) - 1;
    if (lua_type(L, key) != LUA_TSTRING) continue;
    if (!locate(L, lua_tostring(L, key))) continue;
    lua_pushvalue(L, key);
    lua_pushvalue(L, -2);
    lua_rawset(L, files);
    if (lua_isstring(L, -1)) {
      lua_pushboolean(L, 1);
      lua_rawset(L, files);
    } else {
      lua_pop(L, 1);
    }
  }
}

/* Changes when a module is added, taken out, or loaded again. */
static int64_t fingerprint(lua_State *L) {
  uint64_t sum = 0;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1))
    sum += tm__mix64((uintptr_t)lua_topointer(L, -1) + 1);
  lua_pop(L, 1);
  return (int64_t)sum;
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

/* Pushes the key under which TM__T_GLOBALS has the state's own function of
   a name that was set to something else. */
static void push_kept_key(lua_State *L, const char *name) {
  lua_pushlstring(L, "\0", 1);
  lua_pushstring(L, name);
  lua_concat(L, 2);
}

void tm__name_keep(lua_State *L, int index) {
  const char *name = lua_tostring(L, index);
  if (!basic(name)) return;
  tm__state_table(L, TM__T_GLOBALS);
  push_kept_key(L, name);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushglobaltable(L);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_replace(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  } else {
    lua_pop(L, 3);
  }
}

/* Pushes a basic function that is kept; or pushes nothing. */
static bool look_kept(lua_State *L, const char *name) {
  tm__state_table(L, TM__T_GLOBALS);
  push_kept_key(L, name);
  bool kept = lua_rawget(L, -2) != LUA_TNIL;
  if (kept)
    lua_replace(L, -2);
  else
    lua_pop(L, 2);
  return kept;
}

/* Pushes package.loaded[module][field]; nil when there is no such thing. */
static void look(lua_State *L, const char *name, size_t len) {
  size_t head = strlen(name);
  if (head < len && strcmp(name, LUA_GNAME) == 0 &&
      look_kept(L, name + head + 1))
    return;
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
  int64_t modules = fingerprint(L);
  if (modules == s->modules) return;
  tm__state_table(L, TM__T_NAMES);
  int names = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, names);) { /* some may be out of date */
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, names);
  }
  memset(s->named, 0, sizeof s->named);
  read_names(L, names);
  lua_pop(L, 1);
  s->modules = modules;
}

bool tm__name_find(tm__state *s, lua_State *L, int index) {
  if (!tm__name_likely(s, lua_topointer(L, index))) return false;
  index = lua_absindex(L, index);
  tm__state_table(L, TM__T_NAMES);
  int names = lua_gettop(L);
  bool found = find(L, index, names);
  lua_remove(L, names);
  return found;
}

/* Finds a C function in the standard libraries, which it opens in a fresh
   state; pushes its name onto L. */
static bool find_in(lua_State *fresh, lua_CFunction f, lua_State *L) {
  luaL_openlibs(fresh);
  luaL_getsubtable(fresh, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(fresh); lua_next(fresh, 1); lua_pop(fresh, 1)) {
    if (!lua_istable(fresh, 3)) continue;
    for (lua_pushnil(fresh); lua_next(fresh, 3); lua_pop(fresh, 1)) {
      if (lua_tocfunction(fresh, 5) != f) continue;
      lua_pushstring(L, lua_tostring(fresh, 2));
      lua_pushlstring(L, "\0", 1);
      lua_pushstring(L, lua_tostring(fresh, 4));
      lua_concat(L, 3);
      return true;
    }
  }
  return false;
}

bool tm__name_find_replaced(lua_State *L, int index) {
  lua_State *fresh = luaL_newstate();
  if (!fresh) return false;
  bool found = find_in(fresh, lua_tocfunction(L, index), L);
  lua_close(fresh);
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
