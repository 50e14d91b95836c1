#include "bind/unpack.h"

#include "bind/error.h"
#include "bind/format.h"
#include "bind/handle.h"
#include "bind/names.h"

/*
 * Stack slots of a reader hold tables that are made when first needed:
 * objects (offset -> what REF may name), later (bodies put off), metas
 * (objects that wait for the metatable of a class that is not filled yet).
 */
typedef struct reader {
  lua_State *L;
  tm__state *state;
  const unsigned char *begin, *at, *end;
  int objects, later, metas;
  lua_Integer nlater, done, nmetas;
  int mode, context;
} reader;

static int malformed(reader *r) {
  return luaL_error(r->L, "malformed message (byte %I of %I)",
                    (lua_Integer)(r->at - r->begin),
                    (lua_Integer)(r->end - r->begin));
}

static const unsigned char *take(reader *r, uint64_t n) {
  const unsigned char *p = r->at;
  if (n > (uint64_t)(r->end - r->at)) malformed(r);
  r->at += n;
  return p;
}

static int get_byte(reader *r) { return *take(r, 1); }
static uint32_t get_u32(reader *r) { return tm__get32(take(r, 4)); }
static uint64_t get_u64(reader *r) { return tm__get64(take(r, 8)); }

/* The list in a slot, pushed; made when it is not there yet. */
static void push_list(reader *r, int slot) {
  lua_State *L = r->L;
  if (lua_isnil(L, slot)) {
    lua_newtable(L);
    lua_replace(L, slot);
  }
  lua_pushvalue(L, slot);
}

/* objects[offset of tag] = value at the top. */
static void keep(reader *r, const unsigned char *tag) {
  lua_State *L = r->L;
  push_list(r, r->objects);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, tag - r->begin);
  lua_pop(L, 1);
}

/* What lies `back` bytes before tag. */
static lua_Integer target(reader *r, const unsigned char *tag) {
  uint64_t back = get_u64(r);
  if (back == 0 || back > (uint64_t)(tag - r->begin)) malformed(r);
  return (lua_Integer)((uint64_t)(tag - r->begin) - back);
}

static void read_ref(reader *r, const unsigned char *tag) {
  lua_Integer at = target(r, tag);
  push_list(r, r->objects);
  if (lua_rawgeti(r->L, -1, at) == LUA_TNIL)
    luaL_error(r->L, "malformed message (or an object that its own "
                     "__tidemill_send needs)");
  lua_replace(r->L, -2);
}

static void read_value(reader *r);

/* ---- bodies ---- */

static void put_off(reader *r) {
  push_list(r, r->later);
  lua_pushvalue(r->L, -2);
  lua_rawseti(r->L, -2, ++r->nlater);
  lua_pop(r->L, 1);
}

static uint32_t segment_length(reader *r, size_t each) {
  uint32_t n = get_u32(r);
  if (n > (uint64_t)(r->end - r->at) / each) malformed(r);
  return n;
}

static lua_Integer read_floats(reader *r, lua_Integer i) {
  uint32_t n = segment_length(r, 8);
  const unsigned char *p = take(r, (uint64_t)n * 8);
  for (; n; n--, p += 8) {
    double x;
    memcpy(&x, p, 8);
    lua_pushnumber(r->L, x);
    lua_rawseti(r->L, -2, ++i);
  }
  return i;
}

static lua_Integer read_ints(reader *r, lua_Integer i) {
  uint32_t n = segment_length(r, 8);
  const unsigned char *p = take(r, (uint64_t)n * 8);
  for (; n; n--, p += 8) {
    lua_pushinteger(r->L, (lua_Integer)tm__get64(p));
    lua_rawseti(r->L, -2, ++i);
  }
  return i;
}

static void read_pairs(reader *r) {
  for (uint32_t n = segment_length(r, 2); n; n--) {
    read_value(r);
    if (lua_isnil(r->L, -1)) malformed(r);
    if (lua_type(r->L, -1) == LUA_TNUMBER &&
        lua_tonumber(r->L, -1) != lua_tonumber(r->L, -1))
      malformed(r);
    read_value(r);
    lua_rawset(r->L, -3);
  }
}

/* Fills the table at the top of the stack. */
static void read_body(reader *r) {
  lua_Integer i = 0;
  for (;;) {
    switch (get_byte(r)) {
      case BODY_END: return;
      case BODY_FLOATS: i = read_floats(r, i); break;
      case BODY_INTS: i = read_ints(r, i); break;
      case BODY_PAIRS: read_pairs(r); break;
      case BODY_VALUES:
        for (uint32_t n = segment_length(r, 1); n; n--) {
          read_value(r);
          lua_rawseti(r->L, -2, ++i);
        }
        break;
      default: malformed(r);
    }
  }
}

/* ---- classes and metatables ---- */

static bool filled(reader *r, lua_Integer id) {
  if ((uint64_t)id >> 32 == r->state->uid) return true;
  tm__state_table(r->L, TM__T_FILLED);
  bool found = lua_rawgeti(r->L, -1, id) != LUA_TNIL;
  lua_pop(r->L, 2);
  return found;
}

/* Pushes the class of an identity, empty when this state has not got it. */
static void push_class(reader *r, lua_Integer id) {
  lua_State *L = r->L;
  tm__state_table(L, TM__T_CLASSES);
  if (lua_rawgeti(L, -1, id) == LUA_TTABLE) {
    lua_replace(L, -2);
    return;
  }
  if ((uint64_t)id >> 32 == r->state->uid)
    luaL_error(L, "a class came back that this state no longer has");
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, id);
  tm__state_table(L, TM__T_IDS);
  lua_pushvalue(L, -2);
  lua_pushinteger(L, id);
  lua_rawset(L, -3);
  tm__state_table(L, TM__T_FILLED);
  lua_pushnil(L);
  lua_rawseti(L, -2, id);
  lua_pop(L, 2);
  lua_replace(L, -2);
}

/* Gives the object below the top the metatable at the top, which is popped;
   when that is a class yet to be filled, at the end: a __gc that is not
   there when the metatable is set never runs. */
static void give_metatable(reader *r, bool now) {
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

static void give_waiting(reader *r) {
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
static void read_metatable(reader *r) {
  bool now = true;
  if (r->at < r->end && *r->at == TAG_CLASS && r->end - r->at >= 9)
    now = filled(r, (lua_Integer)tm__get64(r->at + 1));
  read_value(r);
  if (!lua_istable(r->L, -1)) malformed(r);
  give_metatable(r, now);
}

/* ---- tables, functions, rebuilt objects ---- */

static void read_table(reader *r, const unsigned char *tag) {
  int flags = get_byte(r);
  uint32_t size = get_u32(r);
  uint64_t most = (uint64_t)(r->end - r->at);
  lua_createtable(r->L, (int)(size < most ? size : most), 0);
  if (flags & FLAG_SHARED) keep(r, tag);
  if (flags & FLAG_META) {
    read_metatable(r);
  }
  if (flags & FLAG_LATER)
    put_off(r);
  else
    read_body(r);
}

static void load_code(reader *r, const unsigned char *at) {
  const unsigned char *here = r->at;
  r->at = at;
  get_byte(r);
  uint32_t len = get_u32(r);
  const char *code = (const char *)take(r, len);
  if (luaL_loadbufferx(r->L, code, len, "=code", "b") != LUA_OK)
    lua_error(r->L);
  if (here > r->at) r->at = here;
}

static void read_code(reader *r) {
  const unsigned char *tag = r->at;
  int kind = get_byte(r);
  if (kind == CODE_NEW) {
    load_code(r, r->at);
  } else if (kind == CODE_REF) {
    const unsigned char *code = r->begin + target(r, tag);
    load_code(r, code + 1);
  } else {
    malformed(r);
  }
}

static void join_upvalue(reader *r, int i, const unsigned char *tag) {
  lua_State *L = r->L;
  lua_Integer at = target(r, tag);
  push_list(r, r->objects);
  if (lua_rawgeti(L, -1, at) != LUA_TFUNCTION) malformed(r);
  if (lua_rawgeti(L, -2, -at) != LUA_TNUMBER) malformed(r);
  int n = (int)lua_tointeger(L, -1);
  lua_upvaluejoin(L, -4, i, -2, n);
  lua_pop(L, 3);
}

static void keep_upvalue(reader *r, int i, const unsigned char *tag) {
  keep(r, tag);
  push_list(r, r->objects);
  lua_pushinteger(r->L, i);
  lua_rawseti(r->L, -2, -(lua_Integer)(tag - r->begin));
  lua_pop(r->L, 1);
}

static void read_upvalue(reader *r, int i) {
  lua_State *L = r->L;
  const unsigned char *tag = r->at;
  switch (get_byte(r)) {
    case UP_ENV: lua_pushglobaltable(L); break;
    case UP_REF: join_upvalue(r, i, tag); return;
    case UP_NEW:
      if (get_byte(r) & FLAG_SHARED) keep_upvalue(r, i, tag);
      read_value(r);
      break;
    default: malformed(r);
  }
  if (!lua_setupvalue(L, -2, i)) malformed(r);
}

/* The upvalues of the function at the top. */
static void read_upvalues(reader *r) {
  lua_Debug ar;
  lua_pushvalue(r->L, -1);
  lua_getinfo(r->L, ">u", &ar);
  for (int i = 1; i <= ar.nups; i++) read_upvalue(r, i);
}

static void read_function(reader *r, const unsigned char *tag) {
  int flags = get_byte(r);
  read_code(r);
  if (flags & FLAG_SHARED) keep(r, tag);
  if (flags & FLAG_LATER)
    put_off(r);
  else
    read_upvalues(r);
}

static void read_rebuilt(reader *r, const unsigned char *tag) {
  int flags = get_byte(r);
  uint32_t n = segment_length(r, 1);
  luaL_checkstack(r->L, (int)n + 4, "too many values");
  for (uint32_t i = 0; i <= n; i++) read_value(r);
  lua_call(r->L, (int)n, 1);
  if (flags & FLAG_SHARED) keep(r, tag);
}

/* ---- values ---- */

static void read_string(reader *r) {
  uint32_t n = get_u32(r);
  const char *s = (const char *)take(r, n);
  lua_pushlstring(r->L, s, n);
}

static void read_text(reader *r, const unsigned char *tag) {
  int flags = get_byte(r);
  uint64_t n = get_u64(r);
  const char *s = (const char *)take(r, n);
  lua_pushlstring(r->L, s, (size_t)n);
  if (flags & FLAG_SHARED) keep(r, tag);
}

static void read_name(reader *r) {
  uint32_t n = get_u32(r);
  const char *s = (const char *)take(r, n);
  lua_pushlstring(r->L, s, n);
  tm__name_push(r->L, lua_tostring(r->L, -1), n);
  lua_replace(r->L, -2);
}

static void read_float(reader *r) {
  double x;
  memcpy(&x, take(r, 8), 8);
  lua_pushnumber(r->L, x);
}

static void read_handle(reader *r) {
  int kind = get_byte(r);
  uint64_t key = get_u64(r);
  uint32_t n = get_u32(r);
  tm__handle_unpack(r->L, kind, key, take(r, n), n);
}

static void read_value(reader *r) {
  lua_State *L = r->L;
  const unsigned char *tag = r->at;
  tm__checkstack(L, 12);
  switch (get_byte(r)) {
    case TAG_NIL: lua_pushnil(L); break;
    case TAG_FALSE: lua_pushboolean(L, 0); break;
    case TAG_TRUE: lua_pushboolean(L, 1); break;
    case TAG_INT: lua_pushinteger(L, (lua_Integer)get_u64(r)); break;
    case TAG_FLOAT: read_float(r); break;
    case TAG_STRING: read_string(r); break;
    case TAG_TEXT: read_text(r, tag); break;
    case TAG_TABLE: read_table(r, tag); break;
    case TAG_FUNCTION: read_function(r, tag); break;
    case TAG_REF: read_ref(r, tag); break;
    case TAG_NAME: read_name(r); break;
    case TAG_CLASS: push_class(r, (lua_Integer)get_u64(r)); break;
    case TAG_HANDLE: read_handle(r); break;
    case TAG_REBUILD: read_rebuilt(r, tag); break;
    case TAG_GLOBALS: lua_pushglobaltable(L); break;
    case TAG_ERROR_META: tm__error_push_meta(L); break;
    default: malformed(r);
  }
}

static void drain(reader *r) {
  lua_State *L = r->L;
  while (r->done < r->nlater) {
    lua_rawgeti(L, r->later, ++r->done);
    if (lua_isfunction(L, -1))
      read_upvalues(r);
    else
      read_body(r);
    lua_pop(L, 1);
  }
}

/* ---- sections ---- */

typedef struct section {
  int kind, flags;
  uint64_t len;
  lua_Integer hash, id;
  const unsigned char *name;
  uint32_t name_len;
} section;

static bool next_section(reader *r, section *s) {
  *s = (section){.kind = get_byte(r)};
  if (s->kind == SECTION_END) return false;
  const unsigned char *head = take(r, SECTION_HEAD - 1) - 1;
  s->flags = head[SECTION_FLAGS];
  s->len = tm__get64(head + SECTION_LEN);
  s->hash = (lua_Integer)tm__get64(head + SECTION_HASH);
  if (s->kind == SECTION_CLASS) {
    s->id = (lua_Integer)get_u64(r);
  } else if (s->kind == SECTION_GLOBAL) {
    s->name_len = get_u32(r);
    s->name = take(r, s->name_len);
  } else {
    malformed(r);
  }
  if (s->len > (uint64_t)(r->end - r->at)) malformed(r);
  return true;
}

static bool has_hash(reader *r, int table, const section *s) {
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

static void read_class(reader *r, const section *s) {
  lua_State *L = r->L;
  push_class(r, s->id);
  bool home = (uint64_t)s->id >> 32 == r->state->uid;
  bool skip = !(s->flags & SECTION_ENTANGLED) && has_hash(r, TM__T_FILLED, s);
  if (home || skip) {
    take(r, s->len);
  } else {
    for (lua_pushnil(L); lua_next(L, -2);) { /* methods may have gone */
      lua_pop(L, 1);
      lua_pushvalue(L, -1);
      lua_pushnil(L);
      lua_rawset(L, -4);
    }
    if (get_byte(r)) read_metatable(r);
    read_body(r);
    drain(r);
    tm__state_table(L, TM__T_FILLED);
    lua_pushinteger(L, s->hash);
    lua_rawseti(L, -2, s->id);
    lua_pop(L, 1);
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

/* context[n + 1 ...] = name, hash, value; of the three at the top. */
static void note_global(lua_State *L, int context) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, context);
  for (int i = 1; i <= 3; i++) {
    lua_pushvalue(L, -4 + i);
    lua_rawseti(L, context, n + i);
  }
}

static bool wants_global(reader *r, int name) {
  lua_State *L = r->L;
  if (r->mode == TM__UNPACK_JOB) return true;
  if (r->mode == TM__UNPACK_PLAIN) return false;
  lua_pushglobaltable(L);
  lua_pushvalue(L, name);
  bool absent = lua_rawget(L, -2) == LUA_TNIL;
  lua_pop(L, 2);
  return absent;
}

static void read_global(reader *r, const section *s) {
  lua_State *L = r->L;
  lua_pushlstring(L, (const char *)s->name, s->name_len);
  int name = lua_gettop(L);
  const unsigned char *end = r->at + s->len;
  bool known = !(s->flags & SECTION_ENTANGLED) &&
               has_hash(r, TM__T_GLOBALS, s);
  lua_pushinteger(L, s->hash);
  if (known) {
    lua_pushglobaltable(L);
    lua_pushvalue(L, name);
    lua_rawget(L, -2);
    lua_replace(L, -2);
    take(r, s->len);
  } else if (!wants_global(r, name)) {
    /* it is read all the same where others refer into it */
    if (s->flags & SECTION_ENTANGLED) {
      read_value(r);
      drain(r);
    }
    r->at = end;
    lua_settop(L, name - 1);
    return;
  } else {
    read_value(r);
    drain(r);
    lua_pushvalue(L, -1);
    set_global(L, name, s->hash);
  }
  if (r->mode == TM__UNPACK_JOB) note_global(L, r->context);
  lua_settop(L, name - 1);
}

/* Sections that can be read alone come before the values, so that classes
   are whole when objects are rebuilt; those that share something with the
   values come after them. */
static void read_sections(reader *r, bool entangled) {
  section s;
  while (next_section(r, &s)) {
    if (((s.flags & SECTION_ENTANGLED) != 0) != entangled)
      take(r, s.len);
    else if (s.kind == SECTION_CLASS)
      read_class(r, &s);
    else
      read_global(r, &s);
  }
  give_waiting(r);
}

/* ---- messages ---- */

static int count_of(reader *r) {
  uint32_t n = (uint32_t)get_byte(r);
  if (n == 255) n = get_u32(r);
  if (n > (uint64_t)(r->end - r->at)) malformed(r);
  luaL_checkstack(r->L, (int)n + 20, "too many values");
  return (int)n;
}

/* Three slots for the tables that may be needed, below the values. */
static int reserve(reader *r) {
  lua_State *L = r->L;
  int base = lua_gettop(L);
  tm__checkstack(L, 20);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushnil(L);
  r->objects = base + 1;
  r->later = base + 2;
  r->metas = base + 3;
  return base;
}

int tm__unpack(lua_State *L, const unsigned char **at,
               const unsigned char *end, int mode, int context) {
  reader r = {.L = L,
              .state = tm__state_get(L),
              .begin = *at,
              .at = *at,
              .end = end,
              .mode = mode,
              .context = context};
  int base = reserve(&r);
  int flags = get_byte(&r);
  const unsigned char *values = r.at, *sections = NULL;
  if (flags & MESSAGE_MORE) {
    uint64_t offset = get_u64(&r);
    values = r.at;
    if (offset > (uint64_t)(end - r.begin)) malformed(&r);
    sections = r.at = r.begin + offset;
    read_sections(&r, false);
    r.at = values;
  }
  int n = count_of(&r);
  for (int i = 0; i < n; i++) read_value(&r);
  drain(&r);
  if (sections) {
    r.at = sections;
    read_sections(&r, true);
  }
  give_waiting(&r);
  *at = r.at;
  lua_rotate(L, base + 1, -3);
  lua_pop(L, 3);
  return n;
}

void tm__unpack_globals(lua_State *L, int context) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, context);
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
