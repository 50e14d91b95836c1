#include "bind/error.h"

#include <limits.h>
#include <string.h>

#include "bind/items.h"

static char meta_key;

static void add_field(lua_State *L, luaL_Buffer *b, const char *field,
                      const char *format) {
  lua_getfield(L, 1, field);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  const char *text = luaL_tolstring(L, -1, NULL);
  lua_pushfstring(L, format, text);
  lua_replace(L, -3);
  lua_pop(L, 1);
  luaL_addvalue(b);
}

/* The kind, unless it is the common one or the message begins with it. */
static void add_kind(lua_State *L, luaL_Buffer *b) {
  lua_getfield(L, 1, "kind");
  lua_getfield(L, 1, "message");
  const char *kind = lua_tostring(L, -2), *text = lua_tostring(L, -1);
  bool shown = kind && strcmp(kind, "task") != 0 &&
               !(text && strncmp(text, kind, strlen(kind)) == 0);
  lua_pop(L, 2);
  if (shown) add_field(L, b, "kind", "%s: ");
}

/* "task 'solve', item 3: timeout: timed out after 2 s", and the worker's
   traceback below. */
static int error_tostring(lua_State *L) {
  luaL_Buffer b;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  bool item = lua_getfield(L, 1, "item") != LUA_TNIL;
  bool task = lua_getfield(L, 1, "task") != LUA_TNIL;
  luaL_buffinit(L, &b);
  if (task) add_field(L, &b, "task", "task '%s'");
  if (item) add_field(L, &b, "item", task ? ", item %s" : "item %s");
  if (item || task) luaL_addstring(&b, ": ");
  add_kind(L, &b);
  add_field(L, &b, "message", "%s");
  add_field(L, &b, "traceback", "\n%s");
  luaL_pushresult(&b);
  return 1;
}

void tm__error_push_meta(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "tidemill.error");
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
}

bool tm__error_is_meta(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
  bool same = lua_rawequal(L, -1, index);
  lua_pop(L, 1);
  return same;
}

bool tm__error_is(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  bool is = tm__error_is_meta(L, -1);
  lua_pop(L, 1);
  return is;
}

void tm__error_push(lua_State *L, int kind, const char *message) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, tm__kind_name(kind));
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, message);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "message");
  lua_setfield(L, -2, "value");
  tm__error_push_meta(L);
  lua_setmetatable(L, -2);
}

int tm__error_throw(lua_State *L, int kind, const char *message) {
  tm__error_push(L, kind, message);
  return lua_error(L);
}

/* How many levels of the stack, from 1, are above the function that runs
   items: the rest is ours, or the script's (FakePool). */
static int levels_of_task(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "f", &ar);
    bool runner = lua_tocfunction(L, -1) == tm__items_runner;
    lua_pop(L, 1);
    if (runner) return level - 1;
  }
  return INT_MAX;
}

/* Pushes the traceback of the task: one line a level, below the title. A
   long one, in which Lua skips levels, stays as it is. */
static void push_traceback(lua_State *L) {
  luaL_traceback(L, L, NULL, 1);
  const char *text = lua_tostring(L, -1), *end = text;
  if (strstr(text, "\n\t...")) return;
  for (int lines = levels_of_task(L); lines >= 0 && end; lines--)
    end = strchr(end + (end != text), '\n');
  if (!end) return;
  lua_pushlstring(L, text, (size_t)(end - text));
  lua_remove(L, -2);
}

int tm__error_handler(lua_State *L) {
  if (lua_touserdata(L, 1) == &tm__unwind_mark) return 1;
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  push_traceback(L);
  lua_rawseti(L, -2, 2);
  return 1;
}

void tm__error_text(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (lua_isstring(L, index)) {
    lua_pushvalue(L, index);
    lua_tostring(L, -1);
  } else if (luaL_getmetafield(L, index, "__tostring")) {
    lua_pop(L, 1);
    luaL_tolstring(L, index, NULL);
  } else {
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
  }
}
