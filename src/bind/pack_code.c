/*
 * pack_code.c: functions, classes, and the sections that hold what they
 * need
 */
#include <stdio.h>

#include "base/hash.h"
#include "bind/error.h"
#include "bind/format.h"
#include "bind/handle.h"
#include "bind/names.h"
#include "bind/pack.h"
#include "bind/scan.h"

/* ---- sections that will be needed ---- */

/* Notes that the collecting packer needs a section for the value at the top
   of the stack, under the name below it; pops both. A name is a string (a
   global) or an integer (a class). */
static void need(tm__packer *p) {
  lua_State *L = p->L;
  tm__packer *code = p->code;
  if (lua_getiuservalue(L, code->self, 1) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, code->self, 1);
  }
  lua_pushvalue(L, -3);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pushvalue(L, -4);
    lua_pushboolean(L, 1);
    lua_rawset(L, -4); /* list[name] = true */
    lua_pushvalue(L, -4);
    lua_rawseti(L, -3, -2 * ++code->nfound); /* its name and its value */
    lua_pushvalue(L, -3);
    lua_rawseti(L, -3, -2 * code->nfound + 1);
  }
  lua_pop(L, 4);
}

/* Whether a section for `name`, on the top of the stack, is there. */
static bool needed(tm__packer *p) {
  lua_State *L = p->L;
  bool found = false;
  if (lua_getiuservalue(L, p->code->self, 1) == LUA_TTABLE) {
    lua_pushvalue(L, -2);
    found = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return found;
}

/* Standard functions under their own names are everywhere already, unless
   the name was ever sent with another value. */
static bool everywhere(tm__packer *p, const char *name, size_t len) {
  lua_State *L = p->L;
  int top = lua_gettop(L);
  bool same = false;
  tm__state_table(L, TM__T_SENT);
  lua_pushlstring(L, name, len);
  if (lua_rawget(L, -2) == LUA_TNIL && tm__name_find(L, top)) {
    size_t n;
    const char *known = lua_tolstring(L, -1, &n);
    const char *bare = strlen(known) == n ? known : known + strlen(known) + 1;
    same = (bare == known || strcmp(known, LUA_GNAME) == 0) &&
           strcmp(bare, name) == 0 && tm__name_standard(known);
  }
  lua_settop(L, top);
  return same;
}

void tm__pack_capture(tm__packer *p, const char *name, size_t len) {
  lua_State *L = p->L;
  if (!p->globals || !p->code) return;
  lua_pushlstring(L, name, len);
  if (needed(p)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushglobaltable(L);
  lua_pushvalue(L, -2);
  lua_rawget(L, -2);
  lua_replace(L, -2);
  if (lua_isnil(L, -1) || everywhere(p, name, len)) {
    lua_pop(L, 2);
    return;
  }
  tm__state_table(L, TM__T_SENT);
  lua_pushlstring(L, name, len);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  need(p);
}

void tm__pack_push_names(tm__packer *p) {
  lua_State *L = p->L;
  lua_Integer n = 0;
  lua_newtable(L);
  for (int i = 1; i <= p->nfound; i++) {
    lua_getiuservalue(L, p->self, 1);
    if (lua_rawgeti(L, -1, -2 * i) == LUA_TSTRING) {
      lua_pushvalue(L, -1);
      lua_rawseti(L, -4, ++n);
    }
    lua_pop(L, 2);
  }
}

/* ---- classes ---- */

/* Pushes the identity of a class, giving it one when it has none. */
static uint64_t identify(tm__packer *p, int index) {
  lua_State *L = p->L;
  tm__state *s = p->state;
  tm__state_table(L, TM__T_IDS);
  lua_pushvalue(L, index);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_Integer id = (lua_Integer)(s->uid << 32 | ++s->classes);
    lua_pushvalue(L, index);
    lua_pushinteger(L, id);
    lua_rawset(L, -4);
    tm__state_table(L, TM__T_CLASSES);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, id);
    lua_pop(L, 2);
    lua_pushinteger(L, id);
  }
  lua_replace(L, -2);
  return (uint64_t)lua_tointeger(L, -1);
}

void tm__pack_class(tm__packer *p, int index) {
  lua_State *L = p->L;
  uint64_t id = identify(p, index);
  tm__pack_byte(p, TAG_CLASS);
  tm__pack_u64(p, id);
  bool reader_has_it = p->reader && id >> 32 == p->reader;
  if (p->code && !reader_has_it && !needed(p)) {
    lua_pushvalue(L, index);
    need(p);
  } else {
    lua_pop(L, 1);
  }
}

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
  for (int i = top; i <= top + n; i++) {
    tm__pack_anchor(p, i);
    tm__pack_value(p, i);
  }
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

bool tm__pack_special(tm__packer *p, int index, bool *meta) {
  lua_State *L = p->L;
  bool special = false;
  *meta = lua_getmetatable(L, index);
  int m = lua_gettop(L);
  lua_pushglobaltable(L);
  bool globals = lua_rawequal(L, index, -1);
  lua_pop(L, 1);
  if (globals) {
    tm__pack_byte(p, TAG_GLOBALS);
    special = true;
  } else if (tm__pack_name(p, index)) {
    special = true;
  } else if (*meta && sends_itself(p, index, m)) {
    special = true;
  } else if (has_field(L, index, "__index") ||
             (*meta && has_field(L, m, "__call"))) {
    tm__pack_class(p, index);
    special = true;
  }
  lua_settop(L, *meta ? m - 1 : m);
  return special;
}

void tm__pack_userdata(tm__packer *p, int index) {
  lua_State *L = p->L;
  char what[100];
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
static void scan_names(tm__packer *p, int index, const char *dump,
                       size_t len) {
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
  if (tm__memo_get(&p->memo, key, &at) &&
      tm__get32(p->buf.data + at + 2) == len &&
      memcmp(p->buf.data + at + 6, dump, len) == 0) {
    tm__pack_share(p, at);
    tm__pack_byte(p, CODE_REF);
    tm__pack_u64(p, p->buf.len - 1 - at);
    return;
  }
  if (!tm__memo_get(&p->memo, key, &at))
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
  } else if (tm__memo_get(&p->memo, (uintptr_t)cell, &at)) {
    tm__pack_share(p, at);
    tm__pack_byte(p, UP_REF);
    tm__pack_u64(p, p->buf.len - 1 - at);
  } else {
    tm__crumb crumb = {.up = p->crumb, .kind = CRUMB_UPVALUE,
                       .index = function, .text = name};
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
  if (tm__pack_name(p, index)) return;
  if (lua_iscfunction(L, index))
    tm__pack_cannot(p, "a C function that no module exports");
  code_of(p, index);
  int record = lua_gettop(L);
  lua_rawgeti(L, record, 1);
  const char *dump = lua_tolstring(L, -1, &len);
  bool later = p->depth >= TM__DEEPEST;
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

/* ---- writing the sections ---- */

static tm__section *open_section(tm__packer *p) {
  if (p->nsections == p->cap_sections) {
    int cap = p->cap_sections * 2 + 8;
    tm__section *list = tm__realloc(p->buf.mem, p->sections,
                                    (size_t)cap * sizeof *list);
    if (!list) luaL_error(p->L, "not enough memory to send a function");
    p->sections = list;
    p->cap_sections = cap;
  }
  tm__section *s = &p->sections[p->nsections++];
  *s = (tm__section){.begin = p->buf.len, .body = UINT64_MAX};
  return s;
}

static void pack_section_name(tm__packer *p, int name) {
  size_t n;
  unsigned char *head = tm__pack_take(p, SECTION_HEAD);
  memset(head, 0, SECTION_HEAD);
  if (lua_isinteger(p->L, name)) {
    head[0] = SECTION_CLASS;
    tm__pack_u64(p, (uint64_t)lua_tointeger(p->L, name));
  } else {
    const char *text = lua_tolstring(p->L, name, &n);
    head[0] = SECTION_GLOBAL;
    tm__pack_text(p, text, n);
    p->item_of = NULL;
    snprintf(p->root, sizeof p->root, "global '%s'", text);
  }
}

/* A class: its metatable and its body, without a table of their own, for
   the reader has the table already or makes it by its identity. */
static void pack_class_body(tm__packer *p, int value) {
  tm__crumb crumb = {.up = NULL, .kind = CRUMB_CLASS};
  p->item_of = NULL;
  snprintf(p->root, sizeof p->root, "class");
  if (luaL_getmetafield(p->L, value, "__name") == LUA_TSTRING)
    lua_pop(p->L, 1);
  p->crumb = &crumb;
  if (lua_getmetatable(p->L, value)) {
    lua_pop(p->L, 1);
    tm__pack_byte(p, 1);
    tm__pack_metatable(p, value);
  } else {
    tm__pack_byte(p, 0);
  }
  tm__pack_body(p, value);
  p->crumb = NULL;
}

static void pack_section(tm__packer *p, int i) {
  lua_State *L = p->L;
  lua_getiuservalue(L, p->self, 1);
  lua_rawgeti(L, -1, -2 * i);
  lua_rawgeti(L, -2, -2 * i + 1);
  int value = lua_gettop(L);
  open_section(p);
  pack_section_name(p, value - 1);
  p->depth = 1;
  p->sections[i - 1].body = p->buf.len;
  if (lua_isinteger(L, value - 1))
    pack_class_body(p, value);
  else
    tm__pack_value(p, value);
  tm__pack_drain(p);
  p->sections[i - 1].end = p->buf.len;
  lua_settop(L, value - 3);
}

/* Lengths and hashes, once it is known what is entangled with what. */
static void finish_sections(tm__packer *p) {
  for (int i = 0; i < p->nsections; i++) {
    const tm__section *s = &p->sections[i];
    unsigned char *head = p->buf.data + s->begin;
    uint64_t len = s->end - s->body;
    uint64_t hash = tm__hash(p->buf.data + s->body, len);
    head[SECTION_FLAGS] = s->entangled ? SECTION_ENTANGLED : 0;
    memcpy(head + SECTION_LEN, &len, 8);
    memcpy(head + SECTION_HASH, &hash, 8);
  }
}

void tm__pack_sections(tm__packer *p) {
  if (!p->more && !p->nfound) return;
  uint64_t at = p->buf.len - p->start;
  memcpy(p->buf.data + p->start + 1, &at, sizeof at);
  for (int i = 1; i <= p->nfound; i++) pack_section(p, i);
  finish_sections(p);
  tm__pack_byte(p, SECTION_END);
}
