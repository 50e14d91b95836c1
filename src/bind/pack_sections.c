/*
 * pack_sections.c: the classes and the globals that go with a message
 */
#include <stdio.h>

#include "base/hash.h"
#include "bind/format.h"
#include "bind/names.h"
#include "bind/pack.h"

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
  if (lua_rawget(L, -2) == LUA_TNIL && tm__name_find(p->state, L, top)) {
    size_t n;
    const char *known = lua_tolstring(L, -1, &n);
    const char *bare = strlen(known) == n ? known : known + strlen(known) + 1;
    same = (bare == known || strcmp(known, LUA_GNAME) == 0) &&
           strcmp(bare, name) == 0 && tm__name_standard(known);
  }
  lua_settop(L, top);
  return same;
}

/* Whether the global at the top, whose name is below it, says nothing that a
   worker does not know. One that is gone matters where it was sent before. */
static bool untold(tm__packer *p, const char *name, size_t len) {
  lua_State *L = p->L;
  if (!lua_isnil(L, -1)) return everywhere(p, name, len);
  tm__state_table(L, TM__T_SENT);
  lua_pushvalue(L, -3);
  bool sent = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return !sent;
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
  if (untold(p, name, len)) {
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

/* ---- writing the sections ---- */

static tm__section *open_section(tm__packer *p) {
  if (p->nsections == p->cap_sections) {
    int cap = p->cap_sections * 2 + 8;
    tm__section *list =
        tm__realloc(p->mem, p->sections, (size_t)cap * sizeof *list);
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
  if (luaL_getmetafield(p->L, value, "__name") == LUA_TSTRING) lua_pop(p->L, 1);
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
  tm__words_clear(&p->words);
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
