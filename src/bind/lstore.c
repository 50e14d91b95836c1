#include "bind/lstore.h"

#include <stdio.h>

#include "bind/handle.h"
#include "bind/unpack.h"

/*
 * TM__T_OBJECTS[key] = {object, version, own}: what this state stored, or
 * its copy of what others did, and of which version. own objects (version 0)
 * are the very ones that were stored here.
 */
enum { OBJECT = 1, VERSION, FAULT };

static tm__store *store_of(lua_State *L) { return tm__state_get(L)->rt->store; }

static int removed(lua_State *L, tm__key key) {
  return luaL_error(L, "key %I was removed from the store",
                    (lua_Integer)(key >> 20));
}

/* Packs the value at index; leaves the packer on the stack. What cannot
   travel is kept for this state; the error is then the message in *fault
   (also on the stack). */
static int pack_object(lua_State *L) {
  tm__packer *p = lua_touserdata(L, 2);
  p->L = L;
  tm__pack_values(p, 1, 1);
  tm__pack_sections(p);
  return 0;
}

/* A value in the store is a byte that says whether it can be read, and the
   message, or why not. */
typedef struct encoded {
  tm__packer *packer;
  const char *fault; /* on the stack */
  size_t len;
} encoded;

static encoded encode(lua_State *L, int index) {
  encoded e = {0};
  e.packer = tm__packer_push(L, NULL);
  snprintf(e.packer->root, sizeof e.packer->root, "the object");
  int self = e.packer->self;
  lua_pushcfunction(L, pack_object);
  lua_pushvalue(L, index);
  lua_pushvalue(L, self);
  e.packer->self = 2;
  int status = lua_pcall(L, 2, 0, 0);
  e.packer->self = self;
  e.packer->L = L;
  if (status == LUA_ERRMEM) lua_error(L);
  if (status != LUA_OK) {
    e.fault = luaL_tolstring(L, -1, &e.len);
    lua_replace(L, -2);
  }
  return e;
}

/* The bytes of an encoded value, first of them the flag. */
static const unsigned char *bytes_of(encoded *e, size_t *len) {
  tm__buf *b = &e->packer->buf;
  if (e->fault) {
    b->len = sizeof(tm__msg);
    unsigned char *at = tm__pack_take(e->packer, e->len);
    memcpy(at, e->fault, e->len);
  }
  unsigned char *first = b->data + sizeof(tm__msg) - 1;
  *first = e->fault != NULL; /* the last byte of a header not in use */
  *len = b->len - sizeof(tm__msg) + 1;
  return first;
}

/* TM__T_OBJECTS[key] = {object at index, version} */
static void remember(lua_State *L, tm__key key, int index,
                     uint64_t version) {
  index = lua_absindex(L, index);
  tm__state_table(L, TM__T_OBJECTS);
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, OBJECT);
  lua_pushinteger(L, (lua_Integer)version);
  lua_rawseti(L, -2, VERSION);
  lua_rawseti(L, -2, (lua_Integer)key);
  lua_pop(L, 1);
}

static void forget(lua_State *L, tm__key key) {
  tm__state_table(L, TM__T_OBJECTS);
  lua_pushnil(L);
  lua_rawseti(L, -2, (lua_Integer)key);
  lua_pop(L, 1);
}

/* ---- in Lua ---- */

/* Stores the value at 1; pushes the handle. */
static tm__handle *add_object(lua_State *L) {
  tm__state *s = tm__state_get(L);
  tm__key key;
  tm_error error;
  size_t len;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  encoded e = encode(L, 1);
  const unsigned char *bytes = bytes_of(&e, &len);
  if (tm__store_add(s->rt->store, TM__OBJECT, s->uid, bytes, len, &key,
                    &error))
    tm__raise(L, &error);
  tm__packer_rest(L, e.packer);
  lua_settop(L, 1);
  remember(L, key, 1, tm__store_version(s->rt->store, key));
  return tm__handle_push(L, TM__OBJECT, key, 1);
}

/* glob_store(object) -> key: an entry that stays until it is removed. One
   count more than the handle's keeps it. */
static int glob_store(lua_State *L) {
  const tm__handle *h = add_object(L);
  (void)tm__store_retain(h->rt->store, h->key);
  return 1;
}

/* store_counted(object) -> key: an entry that goes with its last handle */
static int store_counted(lua_State *L) {
  add_object(L);
  return 1;
}

/* Reads the current version into this state; pushes it. */
static void read_object(lua_State *L, const tm__handle *h) {
  tm__pin pin;
  tm_error e;
  if (tm__store_pin(h->rt->store, h->key, &pin, &e)) {
    if (e.code == TM_ENOKEY) removed(L, h->key);
    tm__raise(L, &e);
  }
  uint64_t version = pin.version;
  bool fault = pin.len && pin.bytes[0];
  /* a copy that Lua owns: what follows may raise while nothing is held */
  lua_pushlstring(L, (const char *)pin.bytes + 1, pin.len - 1);
  tm__store_unpin(h->rt->store, &pin);
  size_t len;
  const char *bytes = lua_tolstring(L, -1, &len);
  if (fault) luaL_error(L, "the stored object cannot be read here: %s", bytes);
  const unsigned char *at = (const unsigned char *)bytes;
  int n = tm__unpack(L, &at, at + len, TM__UNPACK_STORE, 0);
  lua_pop(L, n - 1);
  lua_remove(L, -2);
  remember(L, h->key, -1, version);
}

/* glob_read(key) -> object */
static int glob_read(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  uint64_t version = tm__store_version(h->rt->store, h->key);
  if (version == 0) {
    forget(L, h->key);
    return removed(L, h->key);
  }
  tm__state_table(L, TM__T_OBJECTS);
  if (lua_rawgeti(L, -1, (lua_Integer)h->key) == LUA_TTABLE) {
    lua_rawgeti(L, -1, VERSION);
    bool current = (uint64_t)lua_tointeger(L, -1) == version;
    lua_pop(L, 1);
    if (current) {
      lua_rawgeti(L, -1, OBJECT);
      return 1;
    }
  }
  read_object(L, h);
  return 1;
}

/* glob_update(key, object): a new version in the entry's place */
static int glob_update(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  tm_error error;
  size_t len;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  encoded e = encode(L, 2);
  const unsigned char *bytes = bytes_of(&e, &len);
  int status = tm__store_update(h->rt->store, h->key, bytes, len, &error);
  if (status == TM_ENOKEY) return removed(L, h->key);
  if (status) return tm__raise(L, &error);
  tm__packer_rest(L, e.packer);
  remember(L, h->key, 2, tm__store_version(h->rt->store, h->key));
  return 0;
}

/* glob_remove(key): by the state that stored it; else nothing happens */
static int glob_remove(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  tm__state *s = tm__state_get(L);
  if (tm__store_kind_of(h->rt->store, h->key) == 0) return removed(L, h->key);
  if (tm__store_owner(h->rt->store, h->key) != s->uid) return 0;
  tm__store_remove(h->rt->store, h->key);
  forget(L, h->key);
  return 0;
}

/* store_count() -> live entries */
static int store_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)tm__store_count(store_of(L)));
  return 1;
}

void tm__store_register(lua_State *L) {
  static const luaL_Reg functions[] = {{"glob_store", glob_store},
                                       {"store_counted", store_counted},
                                       {"glob_read", glob_read},
                                       {"glob_update", glob_update},
                                       {"glob_remove", glob_remove},
                                       {"store_count", store_count},
                                       {NULL, NULL}};
  tm__handle_meta(L, TM__OBJECT, "tidemill.key");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
