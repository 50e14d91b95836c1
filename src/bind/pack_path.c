/*
 * pack_path.c: the path to what cannot travel, in words
 */
#include <ctype.h>
#include <stdio.h>

#include "bind/error.h"
#include "bind/pack.h"

void tm__pack_item(tm__packer *p, const char *what, uint64_t item) {
  p->item_of = what;
  p->item = item;
}

const char *tm__pack_root(tm__packer *p) {
  if (p->item_of) {
    snprintf(p->root, sizeof p->root, "%s %llu", p->item_of,
             (unsigned long long)p->item);
    p->item_of = NULL;
  }
  return p->root;
}

static bool global_name(lua_State *L, int index, char *out, size_t size) {
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, index)) continue;
    snprintf(out, size, "%s", lua_tostring(L, -2));
    lua_pop(L, 3);
    return true;
  }
  lua_pop(L, 1);
  return false;
}

static bool local_name(lua_State *L, int index, char *out, size_t size) {
  lua_Debug ar;
  for (int level = 0; level < 8 && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (ar.source[0] == '=' && ar.source[1] == 't') continue; /* our own */
    const char *name;
    for (int i = 1; (name = lua_getlocal(L, &ar, i)) != NULL; i++) {
      bool same = lua_rawequal(L, -1, index) && name[0] != '(';
      lua_pop(L, 1);
      if (!same) continue;
      snprintf(out, size, "%s", name);
      return true;
    }
  }
  return false;
}

void tm__function_name(lua_State *L, int index, char *out, size_t size) {
  lua_Debug ar;
  index = lua_absindex(L, index);
  tm__checkstack(L, 6);
  if (!lua_isfunction(L, index)) {
    snprintf(out, size, "a %s", luaL_typename(L, index));
    return;
  }
  if (global_name(L, index, out, size)) return;
  if (local_name(L, index, out, size)) return;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &ar);
  if (ar.what[0] == 'C')
    snprintf(out, size, "C function");
  else
    snprintf(out, size, "function <%s:%d>", ar.short_src, ar.linedefined);
}

static bool identifier(const char *s) {
  if (!isalpha((unsigned char)*s) && *s != '_') return false;
  while (isalnum((unsigned char)*s) || *s == '_') s++;
  return *s == '\0';
}

static void add_key(lua_State *L, luaL_Buffer *b, int index) {
  switch (lua_type(L, index)) {
  case LUA_TSTRING: {
    const char *key = lua_tostring(L, index);
    lua_pushfstring(L, identifier(key) ? ".%s" : "[\"%s\"]", key);
    break;
  }
  case LUA_TNUMBER:
    lua_pushvalue(L, index);
    lua_pushfstring(L, "[%s]", lua_tostring(L, -1));
    lua_remove(L, -2);
    break;
  default: lua_pushfstring(L, "[a %s]", luaL_typename(L, index));
  }
  luaL_addvalue(b);
}

static void add_crumb(tm__packer *p, luaL_Buffer *b, const tm__crumb *c,
                      bool first) {
  char name[100];
  lua_State *L = p->L;
  switch (c->kind) {
  case CRUMB_KEY:
    if (!c->element) {
      add_key(L, b, c->index);
      return;
    }
    lua_pushfstring(L, "[%I]", *c->element);
    break;
  case CRUMB_META: lua_pushstring(L, " (its metatable)"); break;
  case CRUMB_REBUILT:
    lua_pushstring(L, " (what its __tidemill_send returned)");
    break;
  case CRUMB_CLASS: lua_pushstring(L, ""); break;
  case CRUMB_UPVALUE:
    tm__function_name(L, c->index, name, sizeof name);
    lua_pushfstring(L, "%supvalue '%s' of '%s'", first ? "" : ": ", c->text,
                    name);
  }
  luaL_addvalue(b);
}

/* The path starts anew at the last function: "upvalue 'mesh' of 'solve':
   .log.file". */
int tm__pack_cannot(tm__packer *p, const char *what) {
  const tm__crumb *list[TM__CRUMBS_SHOWN];
  int n = 0;
  bool whole = true;
  luaL_Buffer b;
  lua_State *L = p->L;
  tm__checkstack(L, LUA_MINSTACK);
  for (const tm__crumb *c = p->crumb; c && whole; c = c->up) {
    if (n == TM__CRUMBS_SHOWN)
      whole = false;
    else
      list[n++] = c;
    if (c->kind == CRUMB_UPVALUE) break;
  }
  luaL_buffinit(L, &b);
  bool upvalue = n && list[n - 1]->kind == CRUMB_UPVALUE;
  if (!upvalue) luaL_addstring(&b, tm__pack_root(p));
  if (!whole) luaL_addstring(&b, ": ...");
  for (int i = n - 1; i >= 0; i--) {
    add_crumb(p, &b, list[i], i == n - 1);
    if (i == n - 1 && i > 0 && upvalue) luaL_addstring(&b, ": ");
  }
  luaL_addstring(&b, " is ");
  luaL_addstring(&b, what);
  luaL_pushresult(&b);
  return tm__error_throw(L, TM__FAIL_SEND, lua_tostring(L, -1));
}
