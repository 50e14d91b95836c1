#include "bind/unpack.h"

#include "bind/error.h"
#include "bind/format.h"
#include "bind/handle.h"
#include "bind/names.h"
#include "bind/reader.h"

int tm__read_malformed(tm__reader *r) {
  return luaL_error(r->L, "malformed message (byte %I of %I)",
                    (lua_Integer)(r->at - r->begin),
                    (lua_Integer)(r->end - r->begin));
}

/* The list in a slot, pushed; made when it is not there yet. */
static void push_list(tm__reader *r, int slot) {
  lua_State *L = r->L;
  if (lua_isnil(L, slot)) {
    lua_newtable(L);
    lua_replace(L, slot);
  }
  lua_pushvalue(L, slot);
}

/* objects[offset of tag] = value at the top. */
static void keep(tm__reader *r, const unsigned char *tag) {
  lua_State *L = r->L;
  push_list(r, r->objects);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, tag - r->begin);
  lua_pop(L, 1);
}

/* What lies `back` bytes before tag. */
static lua_Integer target(tm__reader *r, const unsigned char *tag) {
  uint64_t back = tm__read_u64(r);
  if (back == 0 || back > (uint64_t)(tag - r->begin)) tm__read_malformed(r);
  return (lua_Integer)((uint64_t)(tag - r->begin) - back);
}

static void read_ref(tm__reader *r, const unsigned char *tag) {
  lua_Integer at = target(r, tag);
  push_list(r, r->objects);
  if (lua_rawgeti(r->L, -1, at) == LUA_TNIL)
    luaL_error(r->L, "malformed message (or an object that its own "
                     "__tidemill_send needs)");
  lua_replace(r->L, -2);
}

/* ---- words ---- */

static void push_word(tm__reader *r, int number) {
  if (!r->has_words || lua_rawgeti(r->L, r->words, number) != LUA_TSTRING)
    tm__read_malformed(r);
}

static void read_new_word(tm__reader *r) {
  lua_State *L = r->L;
  int number = tm__read_byte(r), n = tm__read_byte(r);
  const char *s = (const char *)tm__read_take(r, (uint64_t)n);
  push_list(r, r->words);
  r->has_words = true;
  lua_pushlstring(L, s, (size_t)n);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, number);
  lua_replace(L, -2);
}

/* ---- bodies ---- */

static void put_off(tm__reader *r) {
  push_list(r, r->later);
  lua_pushvalue(r->L, -2);
  lua_rawseti(r->L, -2, ++r->nlater);
  lua_pop(r->L, 1);
}

static uint32_t segment_length(tm__reader *r, size_t each) {
  uint32_t n = tm__read_u32(r);
  if (n > (uint64_t)(r->end - r->at) / each) tm__read_malformed(r);
  return n;
}

static lua_Integer read_floats(tm__reader *r, lua_Integer i) {
  uint32_t n = segment_length(r, 8);
  const unsigned char *p = tm__read_take(r, (uint64_t)n * 8);
  for (; n; n--, p += 8) {
    double x;
    memcpy(&x, p, 8);
    lua_pushnumber(r->L, x);
    lua_rawseti(r->L, -2, ++i);
  }
  return i;
}

static lua_Integer read_ints(tm__reader *r, lua_Integer i) {
  uint32_t n = segment_length(r, 8);
  const unsigned char *p = tm__read_take(r, (uint64_t)n * 8);
  for (; n; n--, p += 8) {
    lua_pushinteger(r->L, (lua_Integer)tm__get64(p));
    lua_rawseti(r->L, -2, ++i);
  }
  return i;
}

/* A key is a word most often; else it may be what no key can be. */
static void read_key(tm__reader *r) {
  if (r->end - r->at >= 2 && *r->at == TAG_WORD) {
    int number = r->at[1];
    r->at += 2;
    push_word(r, number);
    return;
  }
  tm__read_value(r);
  if (lua_isnil(r->L, -1)) tm__read_malformed(r);
  if (lua_type(r->L, -1) == LUA_TNUMBER &&
      lua_tonumber(r->L, -1) != lua_tonumber(r->L, -1))
    tm__read_malformed(r);
}

static void read_pairs(tm__reader *r) {
  for (uint32_t n = segment_length(r, 2); n; n--) {
    read_key(r);
    tm__read_value(r);
    lua_rawset(r->L, -3);
  }
}

/* Fills the table at the top of the stack. */
void tm__read_body(tm__reader *r) {
  lua_Integer i = 0;
  for (;;) {
    switch (tm__read_byte(r)) {
    case BODY_END: return;
    case BODY_FLOATS: i = read_floats(r, i); break;
    case BODY_INTS: i = read_ints(r, i); break;
    case BODY_PAIRS: read_pairs(r); break;
    case BODY_VALUES:
      for (uint32_t n = segment_length(r, 1); n; n--) {
        tm__read_value(r);
        lua_rawseti(r->L, -2, ++i);
      }
      break;
    default: tm__read_malformed(r);
    }
  }
}

/* ---- metatables ---- */

/* Gives the object below the top the metatable at the top, which is popped;
   when that is a class yet to be filled, at the end: a __gc that is not
   there when the metatable is set never runs. */
static void give_metatable(tm__reader *r, bool now) {
  lua_State *L = r->L;
  if (now) {
    lua_setmetatable(L, -2);
    return;
  }
  push_list(r, r->metas);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, ++r->nmetas);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, ++r->nmetas);
  lua_pop(L, 2);
}

void tm__read_give_waiting(tm__reader *r) {
  lua_State *L = r->L;
  if (!r->nmetas) return;
  for (lua_Integer i = 1; i < r->nmetas; i += 2) {
    lua_rawgeti(L, r->metas, i);
    lua_rawgeti(L, r->metas, i + 1);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
  }
  r->nmetas = 0;
}

/* Reads a metatable for the object at the top. */
void tm__read_metatable(tm__reader *r) {
  bool now = true;
  if (r->at < r->end && *r->at == TAG_CLASS && r->end - r->at >= 9)
    now = tm__read_filled(r, (lua_Integer)tm__get64(r->at + 1));
  tm__read_value(r);
  if (!lua_istable(r->L, -1)) tm__read_malformed(r);
  give_metatable(r, now);
}

/* ---- tables, functions, rebuilt objects ---- */

static int no_more_than(uint32_t n, uint64_t most) {
  return (int)(n < most ? n : most);
}

static void read_table(tm__reader *r, const unsigned char *tag) {
  const unsigned char *head = tm__read_take(r, TABLE_HEAD - 1) - 1;
  int flags = head[TABLE_FLAGS];
  uint64_t left = (uint64_t)(r->end - r->at);
  if (left > INT32_MAX) left = INT32_MAX;
  lua_createtable(r->L, no_more_than(tm__get32(head + TABLE_ARRAY), left),
                  no_more_than(tm__get32(head + TABLE_PAIRS), left / 2));
  if (flags & FLAG_SHARED) keep(r, tag);
  if (flags & FLAG_META) tm__read_metatable(r);
  if (flags & FLAG_LATER)
    put_off(r);
  else
    tm__read_body(r);
}

static void load_code(tm__reader *r, const unsigned char *at) {
  const unsigned char *here = r->at;
  r->at = at;
  tm__read_byte(r);
  uint32_t len = tm__read_u32(r);
  const char *code = (const char *)tm__read_take(r, len);
  if (luaL_loadbufferx(r->L, code, len, "=code", "b") != LUA_OK)
    lua_error(r->L);
  if (here > r->at) r->at = here;
}

static void read_code(tm__reader *r) {
  const unsigned char *tag = r->at;
  int kind = tm__read_byte(r);
  if (kind == CODE_NEW) {
    load_code(r, r->at);
  } else if (kind == CODE_REF) {
    const unsigned char *code = r->begin + target(r, tag);
    load_code(r, code + 1);
  } else {
    tm__read_malformed(r);
  }
}

static void join_upvalue(tm__reader *r, int i, const unsigned char *tag) {
  lua_State *L = r->L;
  lua_Integer at = target(r, tag);
  push_list(r, r->objects);
  if (lua_rawgeti(L, -1, at) != LUA_TFUNCTION) tm__read_malformed(r);
  if (lua_rawgeti(L, -2, -at) != LUA_TNUMBER) tm__read_malformed(r);
  int n = (int)lua_tointeger(L, -1);
  lua_upvaluejoin(L, -4, i, -2, n);
  lua_pop(L, 3);
}

static void keep_upvalue(tm__reader *r, int i, const unsigned char *tag) {
  keep(r, tag);
  push_list(r, r->objects);
  lua_pushinteger(r->L, i);
  lua_rawseti(r->L, -2, -(lua_Integer)(tag - r->begin));
  lua_pop(r->L, 1);
}

static void read_upvalue(tm__reader *r, int i) {
  lua_State *L = r->L;
  const unsigned char *tag = r->at;
  switch (tm__read_byte(r)) {
  case UP_ENV: lua_pushglobaltable(L); break;
  case UP_REF: join_upvalue(r, i, tag); return;
  case UP_NEW:
    if (tm__read_byte(r) & FLAG_SHARED) keep_upvalue(r, i, tag);
    tm__read_value(r);
    break;
  default: tm__read_malformed(r);
  }
  if (!lua_setupvalue(L, -2, i)) tm__read_malformed(r);
}

/* The upvalues of the function at the top. */
static void read_upvalues(tm__reader *r) {
  lua_Debug ar;
  lua_pushvalue(r->L, -1);
  lua_getinfo(r->L, ">u", &ar);
  for (int i = 1; i <= ar.nups; i++) read_upvalue(r, i);
}

static void read_function(tm__reader *r, const unsigned char *tag) {
  int flags = tm__read_byte(r);
  read_code(r);
  if (flags & FLAG_SHARED) keep(r, tag);
  if (flags & FLAG_LATER)
    put_off(r);
  else
    read_upvalues(r);
}

static void read_rebuilt(tm__reader *r, const unsigned char *tag) {
  int flags = tm__read_byte(r);
  uint32_t n = segment_length(r, 1);
  luaL_checkstack(r->L, (int)n + 4, "too many values");
  for (uint32_t i = 0; i <= n; i++) tm__read_value(r);
  lua_call(r->L, (int)n, 1);
  if (flags & FLAG_SHARED) keep(r, tag);
}

/* ---- values ---- */

static void read_string(tm__reader *r) {
  int n = tm__read_byte(r);
  const char *s = (const char *)tm__read_take(r, (uint64_t)n);
  lua_pushlstring(r->L, s, (size_t)n);
}

static void read_text(tm__reader *r, const unsigned char *tag) {
  int flags = tm__read_byte(r);
  uint64_t n = tm__read_u64(r);
  const char *s = (const char *)tm__read_take(r, n);
  lua_pushlstring(r->L, s, (size_t)n);
  if (flags & FLAG_SHARED) keep(r, tag);
}

static void read_name(tm__reader *r) {
  uint32_t n = tm__read_u32(r);
  const char *s = (const char *)tm__read_take(r, n);
  lua_pushlstring(r->L, s, n);
  tm__name_push(r->L, lua_tostring(r->L, -1), n);
  lua_replace(r->L, -2);
}

static void read_float(tm__reader *r) {
  double x;
  memcpy(&x, tm__read_take(r, 8), 8);
  lua_pushnumber(r->L, x);
}

static void read_handle(tm__reader *r, const unsigned char *tag) {
  int flags = tm__read_byte(r);
  int kind = tm__read_byte(r);
  uint64_t key = tm__read_u64(r);
  uint32_t n = tm__read_u32(r);
  tm__handle_unpack(r->L, kind, key, tm__read_take(r, n), n);
  if (flags & FLAG_SHARED) keep(r, tag);
}

/* What has parts: it may need more of the stack, and nests. */
static void read_composite(tm__reader *r, int kind, const unsigned char *tag) {
  lua_State *L = r->L;
  if (++r->depth > TM__TOO_DEEP + 8) tm__read_malformed(r);
  tm__checkstack(L, 12);
  switch (kind) {
  case TAG_TEXT: read_text(r, tag); break;
  case TAG_TABLE: read_table(r, tag); break;
  case TAG_FUNCTION: read_function(r, tag); break;
  case TAG_REF: read_ref(r, tag); break;
  case TAG_NAME: read_name(r); break;
  case TAG_CLASS: tm__read_push_class(r, (lua_Integer)tm__read_u64(r)); break;
  case TAG_HANDLE: read_handle(r, tag); break;
  case TAG_REBUILD: read_rebuilt(r, tag); break;
  case TAG_GLOBALS: lua_pushglobaltable(L); break;
  case TAG_ERROR_META: tm__error_push_meta(L); break;
  case TAG_NEW_WORD: read_new_word(r); break;
  default: tm__read_malformed(r);
  }
  r->depth--;
}

/* Whoever calls has two slots of the stack left. */
void tm__read_value(tm__reader *r) {
  lua_State *L = r->L;
  const unsigned char *tag = r->at;
  int kind = tm__read_byte(r);
  switch (kind) {
  case TAG_NIL: lua_pushnil(L); break;
  case TAG_FALSE: lua_pushboolean(L, 0); break;
  case TAG_TRUE: lua_pushboolean(L, 1); break;
  case TAG_INT: lua_pushinteger(L, (lua_Integer)tm__read_u64(r)); break;
  case TAG_FLOAT: read_float(r); break;
  case TAG_STRING: read_string(r); break;
  case TAG_WORD: push_word(r, tm__read_byte(r)); break;
  default: read_composite(r, kind, tag);
  }
}

void tm__read_drain(tm__reader *r) {
  lua_State *L = r->L;
  while (r->done < r->nlater) {
    lua_rawgeti(L, r->later, ++r->done);
    if (lua_isfunction(L, -1))
      read_upvalues(r);
    else
      tm__read_body(r);
    lua_pop(L, 1);
  }
}

/* ---- messages ---- */

static int count_of(tm__reader *r) {
  uint32_t n = (uint32_t)tm__read_byte(r);
  if (n == 255) n = tm__read_u32(r);
  if (n > (uint64_t)(r->end - r->at)) tm__read_malformed(r);
  luaL_checkstack(r->L, (int)n + 20, "too many values");
  return (int)n;
}

/* Four slots for the tables that may be needed, below the values. */
static int reserve(tm__reader *r) {
  lua_State *L = r->L;
  int base = lua_gettop(L);
  tm__checkstack(L, 20);
  for (int i = 0; i < 4; i++) lua_pushnil(L);
  r->objects = base + 1;
  r->later = base + 2;
  r->metas = base + 3;
  r->words = base + 4;
  return base;
}

int tm__unpack(lua_State *L, const unsigned char **at, const unsigned char *end,
               int mode, int context) {
  tm__reader r = {.L = L,
                  .state = tm__state_get(L),
                  .begin = *at,
                  .at = *at,
                  .end = end,
                  .mode = mode,
                  .context = context};
  int base = reserve(&r);
  int flags = tm__read_byte(&r);
  const unsigned char *values = r.at, *sections = NULL;
  if (flags & MESSAGE_MORE) {
    uint64_t offset = tm__read_u64(&r);
    values = r.at;
    if (offset > (uint64_t)(end - r.begin)) tm__read_malformed(&r);
    sections = r.at = r.begin + offset;
    tm__read_sections(&r, false);
    r.at = values;
  }
  int n = count_of(&r);
  for (int i = 0; i < n; i++) tm__read_value(&r);
  tm__read_drain(&r);
  if (sections) {
    r.at = sections;
    tm__read_sections(&r, true);
  }
  tm__read_give_waiting(&r);
  if (r.lost > 0)
    luaL_error(L, "a class came back that this state no longer has");
  *at = r.at;
  lua_rotate(L, base + 1, -4);
  lua_pop(L, 4);
  return n;
}
