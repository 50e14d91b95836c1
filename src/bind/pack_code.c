/*
 * pack_code.c: functions, and objects that are not copied field by field
 */
#include <stdio.h>

#include "base/hash.h"
#include "bind/error.h"
#include "bind/format.h"
#include "bind/handle.h"
#include "bind/names.h"
#include "bind/pack.h"
#include "bind/scan.h"

static bool has_field(lua_State *L, int table, const char *name) {
  lua_pushstring(L, name);
  bool found = lua_rawget(L, table) != LUA_TNIL;
  lua_pop(L, 1);
  return found;
}

/* ---- objects that say themselves how they travel ---- */

/* __tidemill_send(object) -> function, arguments; at index and above. */
static void pack_rebuild(tm__packer *p, int index) {
  lua_State *L = p->L;
  int top = lua_gettop(L); /* __tidemill_send */
  lua_pushvalue(L, index);
  lua_call(L, 1, LUA_MULTRET);
  int n = lua_gettop(L) - top;
  if (n < 0 || !lua_isfunction(L, top)) {
    lua_settop(L, top - 1);
    tm__pack_cannot(p, "an object whose __tidemill_send does not return a "
                       "function and its arguments");
  }
  tm__checkstack(L, 12);
  tm__crumb crumb = {.up = p->crumb, .kind = CRUMB_REBUILT};
  p->crumb = &crumb;
  tm__pack_anchor(p, index);
  tm__pack_note(p, lua_topointer(L, index));
  tm__pack_byte(p, TAG_REBUILD);
  tm__pack_byte(p, 0);
  tm__pack_u32(p, (size_t)n);
  p->rebuilding++;
  for (int i = top; i <= top + n; i++) {
    tm__pack_anchor(p, i);
    tm__pack_value(p, i);
  }
  p->rebuilding--;
  p->crumb = crumb.up;
  lua_settop(L, top - 1);
}

static bool sends_itself(tm__packer *p, int index, int meta) {
  lua_State *L = p->L;
  lua_pushliteral(L, "__tidemill_send");
  if (lua_rawget(L, meta) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  pack_rebuild(p, index);
  return true;
}

/* Lets a class put what its instances hold into order before they are read:
   __tidemill_stow(object). */
static void stow(tm__packer *p, int index, int meta) {
  lua_State *L = p->L;
  lua_pushliteral(L, "__tidemill_stow");
  if (lua_rawget(L, meta) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, index);
  lua_call(L, 1, 0);
}

/* Classes are tables with __index, as metatables of objects have it; and
   those that can be called and look up what they lack elsewhere, as classes
   do whose objects have another metatable (middleclass). An object of a class
   with __call is none: its metatable looks up in itself. */
static bool is_class(tm__packer *p, int index, int meta) {
  lua_State *L = p->L;
  lua_getiuservalue(L, p->self, 4); /* "__index" */
  bool has_index = lua_rawget(L, index) != LUA_TNIL;
  lua_pop(L, 1);
  if (has_index) return true;
  if (!meta || !has_field(L, meta, "__call")) return false;
  lua_pushliteral(L, "__index");
  bool elsewhere =
      lua_rawget(L, meta) != LUA_TNIL && !lua_rawequal(L, -1, meta);
  lua_pop(L, 1);
  return elsewhere;
}

static bool pack_with_meta(tm__packer *p, int index) {
  int m = lua_gettop(p->L);
  bool special = true;
  stow(p, index, m);
  if (!tm__pack_name(p, index) && !sends_itself(p, index, m)) {
    special = is_class(p, index, m);
    if (special) tm__pack_class(p, index);
  }
  lua_settop(p->L, m - 1);
  return special;
}

bool tm__pack_special(tm__packer *p, int index, const void *object,
                      bool *meta) {
  if (object == p->globals_table) {
    tm__pack_byte(p, TAG_GLOBALS);
    return true;
  }
  *meta = lua_getmetatable(p->L, index);
  if (*meta) return pack_with_meta(p, index);
  if (tm__pack_name(p, index)) return true;
  if (!is_class(p, index, 0)) return false;
  tm__pack_class(p, index);
  return true;
}

void tm__pack_userdata(tm__packer *p, int index) {
  lua_State *L = p->L;
  char what[100];
  tm__checkstack(L, 16);
  if (tm__handle_pack(p, index)) return;
  if (tm__pack_ref(p, lua_touserdata(L, index))) return;
  if (tm__pack_name(p, index)) return;
  if (lua_getmetatable(L, index)) {
    int meta = lua_gettop(L);
    if (sends_itself(p, index, meta)) {
      lua_settop(L, meta - 1);
      return;
    }
    lua_pop(L, 1);
  }
  const char *name = "";
  if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
    name = lua_tostring(L, -1);
  snprintf(what, sizeof what, "a %s%suserdata", name, *name ? " " : "");
  tm__pack_cannot(p, what);
}

/* ---- functions ---- */

static int write_dump(lua_State *L, const void *bytes, size_t n, void *b) {
  (void)L;
  return !tm__buf_put(b, bytes, n);
}

static bool is_globals(lua_State *L) {
  lua_pushglobaltable(L);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  return same;
}

typedef struct names {
  lua_State *L;
  lua_Integer n;
} names;

/* Appends a name to the table at the top of the stack. */
static void add_name(void *user, const char *name, size_t len) {
  names *list = user;
  lua_pushlstring(list->L, name, len);
  lua_rawseti(list->L, -2, ++list->n);
}

/* Appends to the table at the top the names that a function reads from the
   globals. */
static void scan_names(tm__packer *p, int index, const char *dump, size_t len) {
  lua_State *L = p->L;
  bool is_env[256] = {false};
  int n = 0;
  while (n < 255 && lua_getupvalue(L, index, n + 1)) {
    is_env[n++] = is_globals(L);
    lua_pop(L, 1);
  }
  names list = {.L = L, .n = 1};
  if (!tm__scan(dump, len, is_env, n, add_name, &list))
    luaL_error(L, "cannot read the code of a function: this Lua is not one "
                  "that tidemill knows");
}

/* Pushes {code, name...} for a Lua function; kept, as code never changes. */
static void code_of(tm__packer *p, int index) {
  lua_State *L = p->L;
  tm__state_table(L, TM__T_CODE);
  lua_pushvalue(L, index);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_replace(L, -2);
    return;
  }
  lua_pop(L, 1);
  luaL_Buffer b;
  lua_newtable(L);
  int record = lua_gettop(L);
  lua_pushvalue(L, index);
  tm__buf bytes;
  tm__buf_init(&bytes, p->buf.mem);
  int failed = lua_dump(L, write_dump, &bytes, 0);
  lua_pop(L, 1);
  if (failed) {
    tm__buf_term(&bytes);
    luaL_error(L, "not enough memory to send a function");
  }
  char *copy = luaL_buffinitsize(L, &b, bytes.len);
  memcpy(copy, bytes.data, bytes.len);
  size_t len = bytes.len;
  tm__buf_term(&bytes);
  luaL_pushresultsize(&b, len);
  lua_rawseti(L, record, 1);
  lua_rawgeti(L, record, 1);
  const char *dump = lua_tolstring(L, -1, &len);
  lua_insert(L, record); /* below the record, so that the record is on top */
  scan_names(p, index, dump, len);
  lua_remove(L, record);
  lua_pushvalue(L, index);
  lua_pushvalue(L, -2);
  lua_rawset(L, -4);
  lua_replace(L, -2);
}

/* The code of a function: closures of one function share it. */
static void pack_dump(tm__packer *p, const char *dump, size_t len) {
  uintptr_t key = (uintptr_t)(tm__hash(dump, len) | 1);
  uint64_t at;
  if (tm__pack_find(p, (const void *)key, &at) &&
      tm__get32(p->buf.data + at + 2) == len &&
      memcmp(p->buf.data + at + 6, dump, len) == 0) {
    tm__pack_share(p, at);
    tm__pack_byte(p, CODE_REF);
    tm__pack_u64(p, p->buf.len - 1 - at);
    return;
  }
  if (!tm__pack_find(p, (const void *)key, &at))
    tm__pack_note(p, (const void *)key);
  tm__pack_byte(p, CODE_NEW);
  tm__pack_byte(p, 0);
  tm__pack_text(p, dump, len);
}

static void pack_upvalue(tm__packer *p, int function, int i) {
  lua_State *L = p->L;
  const char *name = lua_getupvalue(L, function, i);
  const void *cell = lua_upvalueid(L, function, i);
  int value = lua_gettop(L);
  uint64_t at;
  if (is_globals(L)) {
    tm__pack_byte(p, UP_ENV);
  } else if (tm__pack_find(p, cell, &at)) {
    tm__pack_share(p, at);
    tm__pack_byte(p, UP_REF);
    tm__pack_u64(p, p->buf.len - 1 - at);
  } else {
    tm__crumb crumb = {
        .up = p->crumb, .kind = CRUMB_UPVALUE, .index = function, .text = name};
    p->crumb = &crumb;
    tm__pack_note(p, cell);
    tm__pack_byte(p, UP_NEW);
    tm__pack_byte(p, 0);
    tm__pack_value(p, value);
    p->crumb = crumb.up;
  }
  lua_pop(L, 1);
}

void tm__pack_upvalues(tm__packer *p, int index) {
  lua_Debug ar;
  tm__checkstack(p->L, 12);
  lua_pushvalue(p->L, index);
  lua_getinfo(p->L, ">u", &ar);
  for (int i = 1; i <= ar.nups; i++) pack_upvalue(p, index, i);
}

static void capture_names(tm__packer *p, int record) {
  lua_State *L = p->L;
  lua_Integer n = (lua_Integer)lua_rawlen(L, record);
  for (lua_Integer i = 2; i <= n; i++) {
    size_t len;
    lua_rawgeti(L, record, i);
    const char *name = lua_tolstring(L, -1, &len);
    tm__pack_capture(p, name, len);
    lua_pop(L, 1);
  }
}

void tm__pack_function(tm__packer *p, int index) {
  lua_State *L = p->L;
  const void *object = lua_topointer(L, index);
  size_t len;
  if (tm__pack_ref(p, object)) return;
  tm__checkstack(L, 16);
  if (tm__pack_name(p, index)) return;
  if (lua_iscfunction(L, index)) {
    if (!tm__name_find_replaced(L, index))
      tm__pack_cannot(p, "a C function that no module exports");
    tm__pack_put_name(p);
    return;
  }
  code_of(p, index);
  int record = lua_gettop(L);
  lua_rawgeti(L, record, 1);
  const char *dump = lua_tolstring(L, -1, &len);
  bool later = tm__pack_later(p);
  tm__pack_note(p, object);
  tm__pack_byte(p, TAG_FUNCTION);
  tm__pack_byte(p, later ? FLAG_LATER : 0);
  pack_dump(p, dump, len);
  if (later)
    tm__pack_defer(p, index);
  else
    tm__pack_upvalues(p, index);
  capture_names(p, record);
  lua_settop(L, record - 1);
}
