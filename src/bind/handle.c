#include "bind/handle.h"

#include "bind/format.h"
#include "bind/ltask.h"

static char meta_keys[TM__BUFFER + 1];
static char mark;

static const char *const names[] = {"", "tidemill.key", "tidemill.counter",
                                    "tidemill.task", "tidemill.array"};

static int handle_gc(lua_State *L) {
  tm__handle *h = lua_touserdata(L, 1);
  if (!h->rt) return 0;
  if (h->key) tm__store_release(h->rt->store, h->key);
  h->key = 0;
  tm__runtime_unref(h->rt);
  h->rt = NULL;
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

tm__handle *tm__handle_push(lua_State *L, int kind, tm__key key, int nuv) {
  tm__state *s = tm__state_get(L);
  tm__handle *h = lua_newuserdatauv(L, sizeof *h, nuv);
  *h = (tm__handle){.kind = kind};
  lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_keys[kind]);
  lua_setmetatable(L, -2);
  h->key = key;
  h->rt = tm__runtime_ref(s->rt);
  return h;
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

bool tm__handle_pack(tm__packer *p, int index) {
  lua_State *L = p->L;
  const tm__handle *h = any(L, index);
  size_t n = 0;
  const char *extra = "";
  if (!h) return false;
  int top = lua_gettop(L);
  if (h->kind == TM__TASK) tm__task_share(p, index);
  int status = tm__keys_hold(&p->keys, p->store, h->key);
  if (status == TM_ENOMEM) luaL_error(L, "not enough memory");
  tm__pack_byte(p, TAG_HANDLE);
  tm__pack_byte(p, h->kind);
  tm__pack_u64(p, h->key);
  if (h->kind != TM__OBJECT && lua_getiuservalue(L, index, 1) == LUA_TSTRING)
    extra = lua_tolstring(L, -1, &n);
  tm__pack_text(p, extra, n);
  lua_settop(L, top);
  return true;
}

/* A key whose entry is gone makes a handle all the same: using it says so,
   and giving a gone key back does nothing. */
void tm__handle_unpack(lua_State *L, int kind, uint64_t key,
                       const unsigned char *extra, size_t n) {
  tm__state *s = tm__state_get(L);
  if (kind < TM__OBJECT || kind > TM__TASK)
    luaL_error(L, "malformed message (a handle of no known kind)");
  tm__handle *h = tm__handle_push(L, kind, 0, 2);
  lua_pushlstring(L, (const char *)extra, n);
  lua_setiuservalue(L, -2, 1);
  h->key = key;
  (void)tm__store_retain(s->rt->store, key);
}
