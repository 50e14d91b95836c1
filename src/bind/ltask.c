#include "bind/ltask.h"

#include <stdio.h>

#include "bind/error.h"
#include "bind/unpack.h"

/*
 * What a state knows of a task is a record. A worker keeps it from job to job,
 * as TM__T_TASKS[key], until the task is gone. In the state that declared the
 * task it goes with the last handle: there the table that finds it has weak
 * values. All handles on a task share one record, which is their second user
 * value; the first is the name.
 */
enum { RUN = 1, SETUP, NAMES, OPTIONS, SHARED, READY };
enum { NAME = 1, RECORD };

static char own_records;

static tm__handle *check_task(lua_State *L, int index) {
  return tm__handle_check(L, index, TM__TASK);
}

/* Stack: pin (light userdata). */
static int unpack_task(lua_State *L) {
  const tm__pin *pin = lua_touserdata(L, 1);
  const unsigned char *at = pin->bytes;
  return tm__unpack(L, &at, at + pin->len, TM__UNPACK_STORE, 0);
}

/* Reads the code of a task that was declared elsewhere; pushes its
   record. The pin holds the keys that it names until their handles are
   made. */
static void read_record(lua_State *L, const tm__handle *h) {
  tm__pin pin;
  tm_error e;
  lua_pushnil(L);
  int base = lua_gettop(L);
  lua_pushcfunction(L, unpack_task);
  lua_pushlightuserdata(L, &pin);
  if (tm__store_pin(h->rt->store, h->key, &pin, &e)) tm__raise(L, &e);
  int status = lua_pcall(L, 1, 4, 0);
  tm__store_unpin(h->rt->store, &pin);
  if (status != LUA_OK) lua_error(L);
  lua_createtable(L, 6, 0);
  for (int i = RUN; i <= OPTIONS; i++) {
    lua_pushvalue(L, base + i);
    lua_rawseti(L, -2, i);
  }
  lua_pushboolean(L, 1);
  lua_rawseti(L, -2, SHARED);
  lua_replace(L, base);
  lua_settop(L, base);
}

static void push_records(lua_State *L, const tm__handle *h) {
  if (tm__store_owner(h->rt->store, h->key) == tm__state_get(L)->uid)
    lua_rawgetp(L, LUA_REGISTRYINDEX, &own_records);
  else
    tm__state_table(L, TM__T_TASKS);
}

/* Pushes the record of the task at an index. */
static void push_record(lua_State *L, int index) {
  const tm__handle *h = lua_touserdata(L, index);
  if (lua_getiuservalue(L, index, RECORD) == LUA_TTABLE) return;
  lua_pop(L, 1);
  push_records(L, h);
  if (lua_rawgeti(L, -1, (lua_Integer)h->key) != LUA_TTABLE) {
    lua_pop(L, 1);
    tm__handle_sweep(L, TM__T_TASKS);
    read_record(L, h);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)h->key);
  }
  lua_replace(L, -2);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, RECORD);
}

void tm__task_function(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!tm__handle_to(L, index, TM__TASK)) return;
  push_record(L, index);
  int record = lua_gettop(L);
  if (lua_rawgeti(L, record, READY) == LUA_TNIL) {
    if (lua_rawgeti(L, record, SETUP) != LUA_TNIL) lua_call(L, 0, 0);
    lua_settop(L, record);
    lua_pushboolean(L, 1);
    lua_rawseti(L, record, READY);
  }
  lua_settop(L, record);
  lua_rawgeti(L, record, RUN);
  lua_replace(L, index);
  lua_settop(L, record - 1);
}

static void push_parts(lua_State *L, int record, bool names) {
  lua_rawgeti(L, record, RUN);
  lua_rawgeti(L, record, SETUP);
  if (!names) return;
  lua_rawgeti(L, record, NAMES);
  lua_rawgeti(L, record, OPTIONS);
}

/* What the functions name, and those that they carry: found by packing them
   once for nothing. */
static void find_names(lua_State *L, int record, const char *name) {
  tm__packer *p = tm__packer_push(L, NULL);
  snprintf(p->root, sizeof p->root, "task '%s'", name);
  push_parts(L, record, false);
  tm__pack_values(p, p->self + 1, 2);
  tm__pack_push_names(p);
  lua_rawseti(L, record, NAMES);
  tm__packer_rest(L, p);
  lua_settop(L, record);
}

static void store_code(lua_State *L, int record, const tm__handle *h,
                       const char *name) {
  tm_error e;
  tm__packer *p = tm__packer_push(L, NULL);
  p->globals = false;
  snprintf(p->root, sizeof p->root, "task '%s'", name);
  push_parts(L, record, true);
  tm__pack_values(p, p->self + 1, 4);
  tm__pack_sections(p);
  tm__handle_drop_own(&p->keys, h);
  tm__content c = {.bytes = p->buf.data + sizeof(tm__msg),
                   .len = p->buf.len - sizeof(tm__msg),
                   .keys = p->keys.list,
                   .nkeys = p->keys.count};
  if (tm__store_replace(h->rt->store, h->key, &c, &e)) tm__raise(L, &e);
  p->keys.count = 0;
  tm__packer_rest(L, p);
  lua_settop(L, record);
}

void tm__task_share(tm__packer *p, int index) {
  lua_State *L = p->L;
  int top = lua_gettop(L);
  const tm__handle *h = check_task(L, index);
  push_record(L, index);
  int record = lua_gettop(L);
  lua_getiuservalue(L, index, NAME);
  const char *name = lua_tostring(L, -1);
  lua_insert(L, record++);
  if (lua_rawgeti(L, record, SHARED) == LUA_TNIL) {
    lua_pop(L, 1);
    find_names(L, record, name);
    store_code(L, record, h, name);
    lua_pushboolean(L, 1);
    lua_rawseti(L, record, SHARED);
  } else {
    lua_pop(L, 1);
  }
  lua_rawgeti(L, record, NAMES);
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = 1; i <= n; i++) {
    size_t len;
    lua_rawgeti(L, record + 1, i);
    const char *global = lua_tolstring(L, -1, &len);
    tm__pack_capture(p, global, len);
    lua_pop(L, 1);
  }
  lua_settop(L, top);
}

/* ---- in Lua ---- */

/* new_task(name, run, setup, options) -> task */
static int task_new(lua_State *L) {
  tm__state *s = tm__state_get(L);
  tm__key key;
  tm_error e;
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 4);
  tm__handle *h = tm__handle_push(L, TM__TASK, 0, 2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, NAME);
  lua_createtable(L, 6, 0);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, RUN);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, SETUP);
  lua_pushvalue(L, 4);
  lua_rawseti(L, -2, OPTIONS);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, RECORD);
  if (tm__store_add(s->rt->store, TM__TASK, s->uid, "", 0, &key, &e))
    return tm__raise(L, &e);
  h->key = key;
  push_records(L, h);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (lua_Integer)key);
  lua_pop(L, 1);
  return 1;
}

static int task_call(lua_State *L) {
  check_task(L, 1);
  tm__task_function(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int task_tostring(lua_State *L) {
  check_task(L, 1);
  lua_getiuservalue(L, 1, NAME);
  lua_pushfstring(L, "tidemill.task '%s'", lua_tostring(L, -1));
  return 1;
}

/* task_info(value) -> name, options; nothing when it is no task */
static int task_info(lua_State *L) {
  if (!tm__handle_to(L, 1, TM__TASK)) return 0;
  lua_getiuservalue(L, 1, NAME);
  push_record(L, 1);
  lua_rawgeti(L, -1, OPTIONS);
  lua_replace(L, -2);
  return 2;
}

void tm__task_register(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"__call", task_call}, {"__tostring", task_tostring}, {NULL, NULL}};
  tm__handle_meta(L, TM__TASK, "tidemill.task");
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 1);
  tm__handle_weak_table(L, &own_records);
  lua_pushcfunction(L, task_new);
  lua_setfield(L, -2, "new_task");
  lua_pushcfunction(L, task_info);
  lua_setfield(L, -2, "task_info");
}
