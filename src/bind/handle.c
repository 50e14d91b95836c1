#include "bind/handle.h"

#include <string.h>

#include "bind/format.h"
#include "bind/larray.h"
#include "bind/ltask.h"
#include "bind/module.h"

static char meta_keys[TM__BUFFER + 1];
static char mark;

static const char *const names[] = {"", "tidemill.key", "tidemill.counter",
                                    "tidemill.task", "tidemill.array"};

static void link_handle(tm__state *s, tm__handle *h) {
  h->next = s->handles;
  h->link = &s->handles;
  if (h->next) h->next->link = &h->next;
  s->handles = h;
}

static void unlink_handle(tm__handle *h) {
  if (!h->link) return;
  *h->link = h->next;
  if (h->next) h->next->link = h->link;
  h->link = NULL;
}

void tm__handle_orphan(tm__state *s) {
  for (tm__handle *h = s->handles; h; h = h->next) h->link = NULL;
  s->handles = NULL;
}

void tm__handle_drop(tm__handle *h) {
  if (!h->rt) return;
  unlink_handle(h);
  if (h->key && tm__runtime_ours(h->rt))
    tm__store_release(h->rt->store, h->key);
  h->key = 0;
  tm__runtime_unref(h->rt);
  h->rt = NULL;
}

static int handle_gc(lua_State *L) {
  tm__handle_drop(lua_touserdata(L, 1));
  return 0;
}

static tm__handle *any(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
    return NULL;
  bool ours = lua_rawgetp(L, -1, &mark) != LUA_TNIL;
  lua_pop(L, 2);
  return ours ? lua_touserdata(L, index) : NULL;
}

static int handle_eq(lua_State *L) {
  const tm__handle *a = any(L, 1), *b = any(L, 2);
  lua_pushboolean(L, a && b && a->key == b->key);
  return 1;
}

static int handle_tostring(lua_State *L) {
  const tm__handle *h = any(L, 1);
  lua_pushfstring(L, "%s (%d)", names[h->kind], (int)(h->key >> 20));
  return 1;
}

void tm__handle_meta(lua_State *L, int kind, const char *name) {
  static const luaL_Reg functions[] = {{"__gc", handle_gc},
                                       {"__eq", handle_eq},
                                       {"__tostring", handle_tostring},
                                       {NULL, NULL}};
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &mark);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_keys[kind]);
}

tm__handle *tm__handle_push_sized(lua_State *L, int kind, tm__key key, int nuv,
                                  size_t size) {
  tm__state *s = tm__state_get(L);
  tm__handle *h = lua_newuserdatauv(L, size, nuv);
  memset(h, 0, size);
  h->kind = kind;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_keys[kind]) == LUA_TNIL) {
    lua_pop(L, 1);
    tm__module_core(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_keys[kind]);
  }
  lua_setmetatable(L, -2);
  h->key = key;
  h->rt = tm__runtime_ref(s->rt);
  link_handle(s, h);
  return h;
}

tm__handle *tm__handle_push(lua_State *L, int kind, tm__key key, int nuv) {
  return tm__handle_push_sized(L, kind, key, nuv, sizeof(tm__handle));
}

tm__handle *tm__handle_to(lua_State *L, int index, int kind) {
  tm__handle *h = any(L, index);
  return h && h->kind == kind ? h : NULL;
}

tm__handle *tm__handle_check(lua_State *L, int index, int kind) {
  tm__handle *h = tm__handle_to(L, index, kind);
  if (!h) luaL_typeerror(L, index, names[kind]);
  return h;
}

/* Takes out what is gone of the table at index; how many are left. */
static lua_Integer sweep(lua_State *L, int table) {
  tm__store *store = tm__state_get(L)->rt->store;
  lua_Integer left = 0;
  for (lua_pushnil(L); lua_next(L, table);) {
    lua_pop(L, 1);
    lua_Integer key = lua_tointeger(L, -1);
    if (key == 0) continue;
    if (tm__store_kind_of(store, (tm__key)key)) {
      left++;
      continue;
    }
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, table);
  }
  return left;
}

/* At 0 the table has how many more may come before the next sweep. */
void tm__handle_sweep(lua_State *L, int which) {
  enum { SMALL = 64 };
  tm__checkstack(L, 8);
  tm__state_table(L, which);
  int table = lua_gettop(L);
  lua_rawgeti(L, table, 0);
  lua_Integer wait = lua_tointeger(L, -1);
  if (wait <= 0) {
    lua_Integer left = sweep(L, table);
    wait = left > SMALL ? left : 1;
  }
  lua_pushinteger(L, wait - 1);
  lua_rawseti(L, table, 0);
  lua_settop(L, table - 1);
}

void tm__handle_drop_own(tm__keys *k, const tm__handle *h) {
  for (uint32_t i = 0; i < k->count;) {
    if (k->list[i] != h->key) {
      i++;
      continue;
    }
    tm__store_release(h->rt->store, h->key);
    k->list[i] = k->list[--k->count];
  }
}

void tm__handle_weak_table(lua_State *L, const void *address) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, address) == LUA_TNIL) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, address);
  }
  lua_pop(L, 1); /* the table that was there, or nil */
}

/* What travels with a handle: the string at the top, or whether a key is
   counted. */
static const char *text_of(lua_State *L, size_t *n) {
  if (lua_type(L, -1) == LUA_TSTRING) return lua_tolstring(L, -1, n);
  *n = lua_toboolean(L, -1) ? 1 : 0;
  return "c";
}

bool tm__handle_pack(tm__packer *p, int index) {
  lua_State *L = p->L;
  const tm__handle *h = any(L, index);
  size_t n = 0;
  const char *extra = "";
  if (!h) return false;
  if (tm__pack_ref(p, h)) return true;
  int top = lua_gettop(L);
  if (h->kind == TM__TASK) tm__task_share(p, index);
  int status = tm__keys_hold(&p->keys, p->store, h->key);
  if (status == TM_ENOMEM) luaL_error(L, "not enough memory");
  tm__pack_note(p, h);
  tm__pack_byte(p, TAG_HANDLE);
  tm__pack_byte(p, 0);
  tm__pack_byte(p, h->kind);
  tm__pack_u64(p, h->key);
  if (h->kind == TM__BUFFER)
    extra = tm__array_describe(L, index, &n);
  else if (lua_getiuservalue(L, index, h->kind == TM__OBJECT ? 2 : 1))
    extra = text_of(L, &n);
  tm__pack_text(p, extra, n);
  lua_settop(L, top);
  return true;
}

/* A key whose entry is gone makes a handle all the same: using it says so,
   and giving a gone key back does nothing. */
void tm__handle_unpack(lua_State *L, int kind, uint64_t key,
                       const unsigned char *extra, size_t n) {
  tm__state *s = tm__state_get(L);
  int known = tm__store_kind_of(s->rt->store, key);
  if (kind < TM__OBJECT || kind > TM__BUFFER || (known && known != kind))
    luaL_error(L, "malformed message (a handle of no known kind)");
  if (kind == TM__BUFFER) {
    tm__array_receive(L, key, extra, n);
    return;
  }
  tm__handle *h = tm__handle_push(L, kind, 0, 2);
  if (kind == TM__OBJECT)
    lua_pushboolean(L, n > 0);
  else
    lua_pushlstring(L, (const char *)extra, n);
  lua_setiuservalue(L, -2, kind == TM__OBJECT ? 2 : 1);
  h->key = key;
  (void)tm__store_retain(s->rt->store, key);
}
