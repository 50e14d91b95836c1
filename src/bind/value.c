#include "bind/value.h"

#include <string.h>

#include "bind/larray.h"
#include "bind/lcounter.h"

/* ---- what hosts get wrong ---- */

static int check_array(const tm_runtime *rt, const tm_array *a, tm_error *e) {
  if (!a) return tm__fail(e, TM_EINVAL, "an array of the host's is NULL");
  if (a->rt == rt) return TM_OK;
  return tm__fail(e, TM_EINVAL, "the array is of another runtime");
}

static int check_key(const tm_runtime *rt, tm_key key, tm_error *e) {
  int kind = tm__store_kind_of(rt->store, key);
  if (kind == TM__OBJECT || kind == TM__COUNTER) return TM_OK;
  if (!kind) return tm__fail(e, TM_ENOKEY, "the key was removed, or never was");
  return tm__fail(e, TM_EINVAL,
                  "the key is not that of an object or a counter");
}

int tm__value_check(const tm_runtime *rt, const tm_value *v, tm_error *e) {
  switch (v->type) {
  case TM_NIL:
  case TM_BOOLEAN:
  case TM_INTEGER:
  case TM_NUMBER: return TM_OK;
  case TM_STRING:
    if (v->as.string.text || !v->as.string.len) return TM_OK;
    return tm__fail(e, TM_EINVAL, "a string of the host's is NULL");
  case TM_ARRAY: return check_array(rt, v->as.array, e);
  case TM_KEY: return check_key(rt, v->as.key, e);
  case TM_OTHER: return tm__fail(e, TM_EINVAL, "a Lua value stays in Lua");
  default:
    return tm__fail(e, TM_EINVAL, "a value of the host's has no known type");
  }
}

/* ---- to Lua ---- */

void tm__array_push_host(lua_State *L, const tm_array *a) {
  tm__arraybox *box = tm__array_push_empty(L);
  tm_runtime *rt = box->handle.rt;
  if (!tm__store_retain(rt->store, a->array.key))
    luaL_error(L, "the array is gone");
  box->array = a->array;
  box->handle.key = a->array.key;
  box->map = a->map;
  tm__maps_ref(&rt->maps, a->map);
  if (!a->array.mapped) tm__array_hold(L, box, tm__array_bytes(&a->array));
}

/* A key as the kind of handle that its entry needs. */
static void push_key(lua_State *L, tm_key key) {
  tm__store *store = tm__state_get(L)->rt->store;
  int kind = tm__store_kind_of(store, key);
  if (!kind) luaL_error(L, "the key was removed");
  tm__handle *h = tm__handle_push(L, kind, 0, 2);
  if (kind == TM__COUNTER) {
    lua_pushliteral(L, "Count: {}");
    lua_setiuservalue(L, -2, 1);
  }
  if (!tm__store_retain(store, key)) luaL_error(L, "the key was removed");
  h->key = key;
}

static void push_string(lua_State *L, const tm_value *v) {
  lua_pushlstring(L, v->as.string.text ? v->as.string.text : "",
                  v->as.string.len);
}

/* The metatables of handles come with the module. */
static void need_module(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "tidemill.core") == LUA_TNIL) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidemill.core");
    lua_call(L, 1, 0);
  }
  lua_pop(L, 2);
}

void tm__value_push(lua_State *L, tm_value v) {
  tm_error e;
  tm__checkstack(L, 8);
  if (tm__value_check(tm__state_get(L)->rt, &v, &e))
    luaL_error(L, "%s", e.text);
  switch (v.type) {
  case TM_NIL: lua_pushnil(L); return;
  case TM_BOOLEAN: lua_pushboolean(L, v.as.boolean); return;
  case TM_INTEGER: lua_pushinteger(L, v.as.integer); return;
  case TM_NUMBER: lua_pushnumber(L, v.as.number); return;
  case TM_STRING: push_string(L, &v); return;
  case TM_ARRAY:
    need_module(L);
    tm__array_push_host(L, v.as.array);
    return;
  case TM_KEY:
    need_module(L);
    push_key(L, v.as.key);
    return;
  default: return;
  }
}

/* ---- from Lua ---- */

void tm__value_no_memory(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  lua_error(L);
}

/* What is raised for want of memory says so as Lua's own message does, behind
   the place in the script if there is one. */
int tm__value_code(int status, const char *text) {
  const char *at = strstr(text, "not enough memory");
  if (status == LUA_ERRMEM || at == text) return TM_ENOMEM;
  bool first = at && (size_t)(at - text) < strcspn(text, "\n");
  return first && at > text + 2 && strncmp(at - 2, ": ", 2) == 0 ? TM_ENOMEM
                                                                 : TM_ELUA;
}

static tm_value get_number(lua_State *L, int index) {
  return lua_isinteger(L, index) ? tm_integer(lua_tointeger(L, index))
                                 : tm_number(lua_tonumber(L, index));
}

static tm_value get_string(lua_State *L, int index) {
  size_t n;
  const char *text = lua_tolstring(L, index, &n);
  return tm_bytes(text, n);
}

static tm_value get_array(const tm__arraybox *box, lua_State *L) {
  tm_array *a = tm__hostarray_of(box->handle.rt, &box->array, box->map);
  if (!a) tm__value_no_memory(L);
  return tm_array_value(a);
}

static tm_value get_other(lua_State *L, int index) {
  tm_value v = tm_string(luaL_typename(L, index));
  v.type = TM_OTHER;
  return v;
}

tm_value tm__value_get(lua_State *L, int index) {
  switch (lua_type(L, index)) {
  case LUA_TNONE:
  case LUA_TNIL: return tm_nil();
  case LUA_TBOOLEAN: return tm_boolean(lua_toboolean(L, index));
  case LUA_TNUMBER: return get_number(L, index);
  case LUA_TSTRING: return get_string(L, index);
  default: break;
  }
  tm__checkstack(L, 4);
  const tm__arraybox *box = tm__array_to(L, index);
  if (box) return get_array(box, L);
  const tm__handle *h = tm__handle_to(L, index, TM__OBJECT);
  if (!h) h = tm__handle_to(L, index, TM__COUNTER);
  return h ? tm_key_value(h->key) : get_other(L, index);
}

void tm__values_release(tm_value *values, int n) {
  for (int i = 0; i < n; i++) {
    if (values[i].type == TM_ARRAY) tm_array_release(values[i].as.array);
    values[i] = tm_nil();
  }
}

/* ---- for hosts with states of their own ---- */

static int fail_lua(lua_State *L, int status, tm_error *e) {
  const char *text = lua_tostring(L, -1);
  if (!text) text = "(no message)";
  int code = tm__fail(e, tm__value_code(status, text), "%s", text);
  lua_pop(L, 1);
  return code;
}

static int protected_push(lua_State *L) {
  tm__value_push(L, *(const tm_value *)lua_touserdata(L, 1));
  return 1;
}

static int check_state(lua_State *L, const char *function, tm_error *e) {
  if (!L) return tm__host_null(e, function);
  if (!lua_checkstack(L, 4))
    return tm__fail(e, TM_ENOMEM, "the Lua stack is full");
  tm__state *s = tm__state_find(L);
  if (!s || !s->rt)
    return tm__fail(e, TM_EINVAL, "%s: tidemill is not open in this Lua state",
                    function);
  return tm__host_open(s->rt, function, e);
}

int tm_lua_push(lua_State *L, tm_value value, tm_error *e) {
  tm_error why;
  int status = check_state(L, "tm_lua_push", e);
  if (status) return status;
  status = tm__value_check(tm__state_find(L)->rt, &value, &why);
  if (status) return tm__fail(e, status, "tm_lua_push: %.300s", why.text);
  lua_pushcfunction(L, protected_push);
  lua_pushlightuserdata(L, &value);
  status = lua_pcall(L, 1, 1, 0);
  return status == LUA_OK ? TM_OK : fail_lua(L, status, e);
}

/* Stack: out, the value. */
static int protected_get(lua_State *L) {
  *(tm_value *)lua_touserdata(L, 1) = tm__value_get(L, 2);
  return 0;
}

/* A string is the one on the caller's stack: values are shared. */
int tm_lua_get(lua_State *L, int index, tm_value *out, tm_error *e) {
  if (!out) return tm__host_null(e, "tm_lua_get");
  *out = tm_nil();
  int status = check_state(L, "tm_lua_get", e);
  if (status) return status;
  if (lua_isnone(L, index)) return TM_OK;
  index = lua_absindex(L, index);
  lua_pushcfunction(L, protected_get);
  lua_pushlightuserdata(L, out);
  lua_pushvalue(L, index);
  status = lua_pcall(L, 2, 0, 0);
  return status == LUA_OK ? TM_OK : fail_lua(L, status, e);
}
