#include "bind/lstore.h"

#include <stdio.h>

#include "bind/error.h"
#include "bind/handle.h"
#include "bind/unpack.h"
#include "host/store.h"

/*
 * What a state knows of the object of a key is a record {object, version}:
 * what was stored here last, the very object, or the state's copy of what
 * others stored, and of which version. All handles on a key share one record,
 * which is their first user value; the second is true for a counted key.
 *
 * TM__T_OBJECTS[key] = record, until the key is removed. Records of counted
 * keys are in a table with weak values instead: they go with the handles, and
 * so an object may refer back to what holds its key.
 */
enum { OBJECT = 1, VERSION };
enum { RECORD = 1, COUNTED };

static char counted_records;

static tm__store *store_of(lua_State *L) { return tm__state_get(L)->rt->store; }

static int removed(lua_State *L, tm__key key) {
  return luaL_error(L, "key %I was removed from the store",
                    (lua_Integer)(key >> 20));
}

/* Stack: object, packer. */
static int pack_object(lua_State *L) {
  tm__packer *p = lua_touserdata(L, 2);
  p->L = L;
  tm__pack_values(p, 1, 1);
  tm__pack_sections(p);
  return 0;
}

/* A value in the store is a byte that says what follows (host/store.h): the
   message, a string as it is, or why it cannot be read. */
typedef struct encoded {
  tm__packer *packer;
  int form;
  const char *text; /* on the stack; NULL of a message */
  size_t len;
} encoded;

/* Packs the value at index; leaves the packer on the stack. What cannot
   travel is kept for this state; the error is then the fault. */
static encoded encode(lua_State *L, int index) {
  encoded e = {.form = TM__FORM_MESSAGE};
  e.packer = tm__packer_push(L, NULL);
  if (lua_type(L, index) == LUA_TSTRING) {
    e.form = TM__FORM_RAW;
    e.text = lua_tolstring(L, index, &e.len);
    return e;
  }
  snprintf(e.packer->root, sizeof e.packer->root, "the object");
  int self = e.packer->self;
  lua_pushcfunction(L, pack_object);
  lua_pushvalue(L, index);
  lua_pushvalue(L, self);
  e.packer->self = 2;
  int status = lua_pcall(L, 2, 0, 0);
  e.packer->self = self;
  e.packer->L = L;
  if (status == LUA_OK) return e;
  if (status == LUA_ERRMEM || lua_touserdata(L, -1) == &tm__unwind_mark)
    lua_error(L);
  if (tm__error_is(L, -1))
    lua_getfield(L, -1, "message");
  else
    luaL_tolstring(L, -1, NULL);
  lua_replace(L, -2);
  e.form = TM__FORM_FAULT;
  e.text = lua_tolstring(L, -1, &e.len);
  return e;
}

/* What is stored for an encoded value: its bytes, first of them the flag,
   and the keys in it. */
static tm__content content_of(encoded *e) {
  tm__buf *b = &e->packer->buf;
  if (e->text) {
    b->len = sizeof(tm__msg);
    unsigned char *at = tm__pack_take(e->packer, e->len);
    memcpy(at, e->text, e->len);
  }
  unsigned char *first = b->data + sizeof(tm__msg) - 1;
  *first = (unsigned char)e->form; /* the last byte of a header not in use */
  return (tm__content){.bytes = first,
                       .len = b->len - sizeof(tm__msg) + 1,
                       .keys = e->packer->keys.list,
                       .nkeys = e->packer->keys.count};
}

/* The counts on the keys now belong to the store. */
static void stored(lua_State *L, const encoded *e) {
  e->packer->keys.count = 0;
  tm__packer_rest(L, e->packer);
}

/* Pushes the table that has the record of a handle's key. */
static void push_records(lua_State *L, int handle) {
  lua_getiuservalue(L, handle, COUNTED);
  bool counted = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (counted)
    lua_rawgetp(L, LUA_REGISTRYINDEX, &counted_records);
  else
    tm__state_table(L, TM__T_OBJECTS);
}

/* Pushes the record of the handle at an index; made when there is none. */
static void push_record(lua_State *L, int handle) {
  const tm__handle *h = lua_touserdata(L, handle);
  if (lua_getiuservalue(L, handle, RECORD) == LUA_TTABLE) return;
  lua_pop(L, 1);
  push_records(L, handle);
  if (lua_rawgeti(L, -1, (lua_Integer)h->key) != LUA_TTABLE) {
    lua_pop(L, 2);
    tm__handle_sweep(L, TM__T_OBJECTS);
    push_records(L, handle);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)h->key);
  }
  lua_replace(L, -2);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, handle, RECORD);
}

static void remember(lua_State *L, int handle, int object, uint64_t version) {
  push_record(L, handle);
  lua_pushvalue(L, object);
  lua_rawseti(L, -2, OBJECT);
  lua_pushinteger(L, (lua_Integer)version);
  lua_rawseti(L, -2, VERSION);
  lua_pop(L, 1);
}

static void forget(lua_State *L, int handle) {
  const tm__handle *h = lua_touserdata(L, handle);
  push_record(L, handle);
  for (int i = OBJECT; i <= VERSION; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  push_records(L, handle);
  lua_pushnil(L);
  lua_rawseti(L, -2, (lua_Integer)h->key);
  lua_pop(L, 2);
}

/* ---- in Lua ---- */

/* Stores the value at 1; pushes the handle. */
static tm__handle *add_object(lua_State *L, bool counted) {
  enum { HANDLE = 2 };
  tm__state *s = tm__state_get(L);
  tm__key key;
  tm_error error;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  tm__handle *h = tm__handle_push(L, TM__OBJECT, 0, 2);
  lua_pushboolean(L, counted);
  lua_setiuservalue(L, HANDLE, COUNTED);
  encoded e = encode(L, 1);
  tm__content c = content_of(&e);
  if (tm__store_put(s->rt->store, TM__OBJECT, s->uid, &c, &key, &error))
    tm__raise(L, &error);
  h->key = key;
  stored(L, &e);
  lua_settop(L, HANDLE);
  remember(L, HANDLE, 1, tm__store_version(s->rt->store, key));
  return h;
}

/* glob_store(object) -> key: an entry that stays until it is removed. One
   count more than the handle's keeps it. */
static int glob_store(lua_State *L) {
  const tm__handle *h = add_object(L, false);
  (void)tm__store_retain(h->rt->store, h->key);
  return 1;
}

/* store_counted(object) -> key: an entry that goes with its last handle */
static int store_counted(lua_State *L) {
  add_object(L, true);
  return 1;
}

/* Stack: pin (light userdata). */
static int unpack_object(lua_State *L) {
  const tm__pin *pin = lua_touserdata(L, 1);
  const unsigned char *at = pin->bytes + 1;
  if (pin->bytes[0] != TM__FORM_MESSAGE)
    lua_pushlstring(L, (const char *)at, pin->len - 1);
  if (pin->bytes[0] == TM__FORM_RAW) return 1;
  if (pin->bytes[0] == TM__FORM_FAULT) {
    return luaL_error(L, "the stored object cannot be read here: %s",
                      lua_tostring(L, -1));
  }
  tm__unpack(L, &at, pin->bytes + pin->len, TM__UNPACK_STORE, 0);
  return 1;
}

/* Reads the current version into this state; pushes it. The pin holds the
   keys that the bytes name until their handles are made. */
static void read_object(lua_State *L, const tm__handle *h) {
  tm__pin pin;
  tm_error e;
  lua_pushcfunction(L, unpack_object);
  lua_pushlightuserdata(L, &pin);
  if (tm__store_pin(h->rt->store, h->key, &pin, &e)) {
    if (e.code == TM_ENOKEY) removed(L, h->key);
    tm__raise(L, &e);
  }
  uint64_t version = pin.version;
  int status = lua_pcall(L, 1, 1, 0);
  tm__store_unpin(h->rt->store, &pin);
  if (status != LUA_OK) lua_error(L);
  remember(L, 1, lua_gettop(L), version);
}

/* glob_read(key) -> object */
static int glob_read(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  uint64_t version = tm__store_version(h->rt->store, h->key);
  lua_settop(L, 1);
  if (version == 0) {
    forget(L, 1);
    return removed(L, h->key);
  }
  push_record(L, 1);
  lua_rawgeti(L, -1, VERSION);
  if ((uint64_t)lua_tointeger(L, -1) == version)
    lua_rawgeti(L, -2, OBJECT);
  else
    read_object(L, h);
  return 1;
}

/* glob_update(key, object): a new version in the entry's place */
static int glob_update(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  tm_error error;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  encoded e = encode(L, 2);
  tm__handle_drop_own(&e.packer->keys, h);
  tm__content c = content_of(&e);
  uint64_t before = tm__store_version(h->rt->store, h->key);
  int status = tm__store_replace(h->rt->store, h->key, &c, &error);
  if (status == TM_ENOKEY) return removed(L, h->key);
  if (status) return tm__raise(L, &error);
  stored(L, &e);
  /* When others updated it meanwhile, the version now may be theirs. */
  uint64_t now = tm__store_version(h->rt->store, h->key);
  if (now == before + 1)
    remember(L, 1, 2, now);
  else
    forget(L, 1);
  return 0;
}

/* glob_remove(key): by the state that stored it; else nothing happens */
static int glob_remove(lua_State *L) {
  const tm__handle *h = tm__handle_check(L, 1, TM__OBJECT);
  tm__state *s = tm__state_get(L);
  if (tm__store_kind_of(h->rt->store, h->key) == 0) return removed(L, h->key);
  if (tm__store_owner(h->rt->store, h->key) != s->uid) return 0;
  tm__store_remove(h->rt->store, h->key);
  forget(L, 1);
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
  tm__handle_weak_table(L, &counted_records);
  luaL_setfuncs(L, functions, 0);
}
