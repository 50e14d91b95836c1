#include "bind/lcounter.h"

#include <string.h>

#include "bind/handle.h"
#include "store/counter.h"

static int removed(lua_State *L) {
  return luaL_error(L, "the counter is gone");
}

/* Pushes the message of a count: the pattern with its {} replaced, or
   formatted. Patterns were checked when the counter was made. */
static void push_message(lua_State *L, const char *pattern, int64_t count) {
  if (strstr(pattern, "{}")) {
    lua_pushinteger(L, count);
    luaL_gsub(L, pattern, "{}", lua_tostring(L, -1));
    return;
  }
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_getfield(L, -1, "format");
  lua_pushstring(L, pattern);
  lua_pushinteger(L, count);
  lua_call(L, 2, 1);
}

/* increment(counter, inc): adds inc (1); at each multiple of its step one
   message is logged, by whoever reached it */
static int counter_increment(lua_State *L) {
  tm__handle *h = tm__handle_check(L, 1, TM__COUNTER);
  lua_Integer inc = luaL_optinteger(L, 2, 1);
  int64_t reached;
  tm__pin pin;
  tm_error e;
  if (tm__store_pin(h->rt->store, h->key, &pin, &e)) return removed(L);
  tm__counter *c = (tm__counter *)(uintptr_t)pin.bytes;
  bool due = tm__counter_add(c, inc, &reached);
  tm__store_unpin(h->rt->store, &pin);
  if (!due || !tm__log_on(&h->rt->log, TM_LOG_INFO)) return 0;
  lua_getiuservalue(L, 1, 1);
  push_message(L, lua_tostring(L, -1), reached);
  size_t n;
  const char *text = lua_tolstring(L, -1, &n);
  tm__log_write(&h->rt->log, TM_LOG_INFO, tm__state_get(L)->indent, text, n);
  return 0;
}

/* value(counter) -> the count now */
static int counter_value(lua_State *L) {
  tm__handle *h = tm__handle_check(L, 1, TM__COUNTER);
  tm__pin pin;
  tm_error e;
  if (tm__store_pin(h->rt->store, h->key, &pin, &e)) return removed(L);
  int64_t value = tm__counter_value((const tm__counter *)(uintptr_t)pin.bytes);
  tm__store_unpin(h->rt->store, &pin);
  lua_pushinteger(L, value);
  return 1;
}

/* new_counter(every, message) -> counter; both were checked */
static int counter_new(lua_State *L) {
  tm__state *s = tm__state_get(L);
  tm__counter c = {.every = luaL_checkinteger(L, 1)};
  tm__key key;
  tm_error e;
  luaL_checkstring(L, 2);
  push_message(L, lua_tostring(L, 2), 0); /* raises for a bad pattern */
  if (tm__store_add(s->rt->store, TM__COUNTER, s->uid, &c, sizeof c, &key, &e))
    return tm__raise(L, &e);
  tm__handle_push(L, TM__COUNTER, key, 2);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

void tm__counter_register(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"increment", counter_increment}, {"value", counter_value}, {NULL, NULL}};
  tm__handle_meta(L, TM__COUNTER, "tidemill.counter");
  lua_createtable(L, 0, 2);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, counter_new);
  lua_setfield(L, -2, "new_counter");
}
