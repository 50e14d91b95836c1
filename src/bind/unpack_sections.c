/*
 * unpack_sections.c: the classes and the globals that come with a message
 */
#include "bind/format.h"
#include "bind/larray.h"
#include "bind/names.h"
#include "bind/reader.h"
#include "bind/unpack.h"

/* ---- classes by their identity ---- */

/* TM__T_FILLED[id] is the hash of what was filled in, and nil for the state's
   own classes; false for one of those that was collected while it was on its
   way: it is made anew from what comes. */
static bool is_own(const tm__reader *r, lua_Integer id) {
  return (uint64_t)id >> 32 == r->state->uid;
}

bool tm__read_filled(tm__reader *r, lua_Integer id) {
  tm__state_table(r->L, TM__T_FILLED);
  int type = lua_rawgeti(r->L, -1, id);
  lua_pop(r->L, 2);
  return type == LUA_TNUMBER || (type == LUA_TNIL && is_own(r, id));
}

/* Pushes the class of an identity, empty when this state has not got it. */
void tm__read_push_class(tm__reader *r, lua_Integer id) {
  lua_State *L = r->L;
  tm__state_table(L, TM__T_CLASSES);
  if (lua_rawgeti(L, -1, id) == LUA_TTABLE) {
    lua_replace(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, id);
  tm__state_table(L, TM__T_IDS);
  lua_pushvalue(L, -2);
  lua_pushinteger(L, id);
  lua_rawset(L, -3);
  tm__state_table(L, TM__T_FILLED);
  if (is_own(r, id)) {
    r->lost++;
    lua_pushboolean(L, 0);
  } else {
    lua_pushnil(L);
  }
  lua_rawseti(L, -2, id);
  lua_pop(L, 2);
  lua_replace(L, -2);
}

/* ---- sections ---- */

typedef struct section {
  int kind, flags;
  uint64_t len;
  lua_Integer hash, id;
  const unsigned char *name;
  uint32_t name_len;
} section;

static bool next_section(tm__reader *r, section *s) {
  *s = (section){.kind = tm__read_byte(r)};
  if (s->kind == SECTION_END) return false;
  const unsigned char *head = tm__read_take(r, SECTION_HEAD - 1) - 1;
  s->flags = head[SECTION_FLAGS];
  s->len = tm__get64(head + SECTION_LEN);
  s->hash = (lua_Integer)tm__get64(head + SECTION_HASH);
  if (s->kind == SECTION_CLASS) {
    s->id = (lua_Integer)tm__read_u64(r);
  } else if (s->kind == SECTION_GLOBAL) {
    s->name_len = tm__read_u32(r);
    s->name = tm__read_take(r, s->name_len);
  } else {
    tm__read_malformed(r);
  }
  if (s->len > (uint64_t)(r->end - r->at)) tm__read_malformed(r);
  return true;
}

static bool has_hash(tm__reader *r, int table, const section *s) {
  lua_State *L = r->L;
  tm__state_table(L, table);
  if (s->kind == SECTION_CLASS)
    lua_rawgeti(L, -1, s->id);
  else {
    lua_pushlstring(L, (const char *)s->name, s->name_len);
    lua_rawget(L, -2);
  }
  bool same = lua_isinteger(L, -1) && lua_tointeger(L, -1) == s->hash;
  lua_pop(L, 2);
  return same;
}

/* The metatable and the fields of the class at the top. */
static void fill_class(tm__reader *r) {
  if (tm__read_byte(r)) tm__read_metatable(r);
  tm__read_body(r);
  tm__read_drain(r);
}

static void refill_class(tm__reader *r, const section *s) {
  lua_State *L = r->L;
  for (lua_pushnil(L); lua_next(L, -2);) { /* methods may have gone */
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, -4);
  }
  if (is_own(r, s->id) && !tm__read_filled(r, s->id)) r->lost--;
  fill_class(r);
  tm__state_table(L, TM__T_FILLED);
  lua_pushinteger(L, s->hash);
  lua_rawseti(L, -2, s->id);
  lua_pop(L, 1);
}

/* Whether a class is this state's own, and here. */
static bool is_home(tm__reader *r, lua_Integer id) {
  tm__state_table(r->L, TM__T_FILLED);
  bool home = lua_rawgeti(r->L, -1, id) == LUA_TNIL && is_own(r, id);
  lua_pop(r->L, 2);
  return home;
}

/* A class that came home stays what it is here; where others refer into it,
   it is read all the same. */
static void read_class(tm__reader *r, const section *s) {
  lua_State *L = r->L;
  tm__read_push_class(r, s->id);
  bool home = is_home(r, s->id);
  bool entangled = s->flags & SECTION_ENTANGLED;
  if (entangled && home) {
    lua_newtable(L);
    fill_class(r);
    lua_pop(L, 1);
  } else if (home || (!entangled && has_hash(r, TM__T_FILLED, s))) {
    tm__read_take(r, s->len);
  } else {
    refill_class(r, s);
  }
  if (r->mode == TM__UNPACK_JOB) { /* keep it as long as the job */
    lua_pushvalue(L, -1);
    lua_rawsetp(L, r->context, lua_topointer(L, -1));
  }
  lua_pop(L, 1);
}

/* _G[name] = value at the top, and the hash of it noted; pops the value. */
static void set_global(lua_State *L, int name, lua_Integer hash) {
  int value = lua_gettop(L);
  tm__name_keep(L, name);
  lua_pushglobaltable(L);
  lua_pushvalue(L, name);
  lua_pushvalue(L, value);
  lua_rawset(L, -3);
  tm__state_table(L, TM__T_GLOBALS);
  lua_pushvalue(L, name);
  lua_pushinteger(L, hash);
  lua_rawset(L, -3);
  lua_settop(L, value - 1);
}

/* How many globals a context notes, times 3: values may be nil. */
static lua_Integer noted(lua_State *L, int context) {
  lua_rawgeti(L, context, 0);
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* context[n + 1 ...] = name, hash, value; of the three at the top. A name
   that was noted keeps its place, context[name] = n: each item of a stream
   may bring it. */
static void note_global(lua_State *L, int context) {
  int name = lua_gettop(L) - 2;
  lua_pushvalue(L, name);
  bool known = lua_rawget(L, context) != LUA_TNIL;
  lua_Integer n = known ? lua_tointeger(L, -1) : noted(L, context);
  if (!known) {
    lua_pushvalue(L, name);
    lua_pushinteger(L, n);
    lua_rawset(L, context);
    lua_pushinteger(L, n + 3);
    lua_rawseti(L, context, 0);
  }
  for (int i = 0; i < 3; i++) {
    lua_pushvalue(L, name + i);
    lua_rawseti(L, context, n + 1 + i);
  }
  lua_settop(L, name + 2);
}

/* Whether a job has set the global whose name is at an index. */
static bool was_set(lua_State *L, int name) {
  tm__state_table(L, TM__T_GLOBALS);
  lua_pushvalue(L, name);
  bool set = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return set;
}

/* A global that the script has no more goes here too, unless it is the
   worker's own. */
static bool wants_global(tm__reader *r, int name) {
  lua_State *L = r->L;
  if (r->at < r->end && *r->at == TAG_NIL && !was_set(L, name)) return false;
  if (r->mode == TM__UNPACK_JOB) return true;
  if (r->mode == TM__UNPACK_PLAIN) return false;
  lua_pushglobaltable(L);
  lua_pushvalue(L, name);
  bool absent = lua_rawget(L, -2) == LUA_TNIL;
  lua_pop(L, 2);
  return absent;
}

static void read_global(tm__reader *r, const section *s) {
  lua_State *L = r->L;
  lua_pushlstring(L, (const char *)s->name, s->name_len);
  int name = lua_gettop(L);
  const unsigned char *end = r->at + s->len;
  bool known = !(s->flags & SECTION_ENTANGLED) && has_hash(r, TM__T_GLOBALS, s);
  lua_pushinteger(L, s->hash);
  if (known) {
    lua_pushglobaltable(L);
    lua_pushvalue(L, name);
    lua_rawget(L, -2);
    lua_replace(L, -2);
    tm__read_take(r, s->len);
  } else if (!wants_global(r, name)) {
    /* it is read all the same where others refer into it */
    if (s->flags & SECTION_ENTANGLED) {
      tm__read_value(r);
      tm__read_drain(r);
    }
    r->at = end;
    lua_settop(L, name - 1);
    return;
  } else {
    tm__read_value(r);
    tm__read_drain(r);
    lua_pushvalue(L, -1);
    set_global(L, name, s->hash);
  }
  if (r->mode == TM__UNPACK_JOB) note_global(L, r->context);
  lua_settop(L, name - 1);
}

/* Sections that can be read alone come before the values, so that classes
   are whole when objects are rebuilt; those that share something with the
   values come after them. */
void tm__read_sections(tm__reader *r, bool entangled) {
  section s;
  while (next_section(r, &s)) {
    if (((s.flags & SECTION_ENTANGLED) != 0) != entangled)
      tm__read_take(r, s.len);
    else if (s.kind == SECTION_CLASS)
      read_class(r, &s);
    else
      read_global(r, &s);
  }
  tm__read_give_waiting(r);
}

void tm__unpack_globals(lua_State *L, int context) {
  lua_Integer n = noted(L, context);
  for (lua_Integer i = 1; i + 2 <= n; i += 3) {
    lua_rawgeti(L, context, i);
    int name = lua_gettop(L);
    lua_rawgeti(L, context, i + 1);
    tm__state_table(L, TM__T_GLOBALS);
    lua_pushvalue(L, name);
    lua_rawget(L, -2);
    if (!lua_rawequal(L, -1, name + 1)) {
      lua_rawgeti(L, context, i + 2);
      set_global(L, name, lua_tointeger(L, name + 1));
    }
    lua_settop(L, name - 1);
  }
}

/* _G[name] = nil where that is still the value, both at and above an index;
   and the hash of it is known no more. */
static void forget_global(lua_State *L, int name) {
  lua_pushglobaltable(L);
  lua_pushvalue(L, name);
  if (lua_rawget(L, -2) != LUA_TNIL && lua_rawequal(L, -1, name + 1)) {
    lua_pushvalue(L, name);
    lua_pushnil(L);
    lua_rawset(L, -4);
    tm__state_table(L, TM__T_GLOBALS);
    lua_pushvalue(L, name);
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
  lua_settop(L, name + 1);
}

void tm__unpack_forget(lua_State *L, int context) {
  lua_Integer n = noted(L, context);
  for (lua_Integer i = 1; i + 2 <= n; i += 3) {
    lua_rawgeti(L, context, i);
    lua_rawgeti(L, context, i + 2);
    const tm__arraybox *box = tm__array_to(L, -1);
    if (box && box->array.wrapped) forget_global(L, lua_gettop(L) - 1);
    lua_pop(L, 2);
  }
}
