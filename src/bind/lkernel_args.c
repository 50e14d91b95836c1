#include "bind/lkernel_args.h"

#include <stdio.h>
#include <string.h>

#include "bind/error.h"
#include "bind/larray.h"
#include "bind/lkernel.h"

/* ---- arguments ---- */

static const char *describe(lua_State *L, int index) {
  switch (lua_type(L, index)) {
  case LUA_TNIL: return "nil";
  case LUA_TBOOLEAN: return "a boolean";
  case LUA_TSTRING: return "a string";
  case LUA_TTABLE: return "a table";
  case LUA_TFUNCTION: return "a function";
  default: return luaL_typename(L, index);
  }
}

static void read_array(const tm__array *a, tm__value *out) {
  out->kind = TM__VALUE_ARRAY;
  out->readonly = a->readonly;
  out->arg.p = a->data;
  out->arg.n = (int64_t)a->n;
  out->arg.shape = (const int64_t *)a->shape;
  out->arg.rank = a->rank;
  out->arg.dtype = a->dtype;
}

static void read_value(lua_State *L, int index, tm__value *out) {
  if (lua_isinteger(L, index)) {
    out->kind = TM__VALUE_INT;
    out->arg.i = lua_tointeger(L, index);
  } else if (lua_type(L, index) == LUA_TNUMBER) {
    out->kind = TM__VALUE_FLOAT;
    out->arg.f = lua_tonumber(L, index);
  } else {
    const tm__arraybox *a = tm__array_to(L, index);
    if (a) {
      read_array(&a->array, out);
    } else {
      out->kind = TM__VALUE_OTHER;
      out->what = describe(L, index);
    }
  }
}

/* The values from index `first` up, against the signature. */
static void read_args(lua_State *L, int first, tm__kernel_run *r) {
  tm_error e;
  tm__value values[TM__PARAM_LIMIT];
  int n = lua_gettop(L) - first + 1;
  if (n > TM__PARAM_LIMIT) luaL_error(L, "too many arguments (%d)", n);
  if (n < 0) n = 0;
  for (int i = 0; i < n; i++) read_value(L, first + i, &values[i]);
  if (tm__signature_check(&r->kernel->signature, r->kernel->name, values, n,
                          r->last, r->args, &e))
    tm__raise(L, &e);
}

static int64_t whole(lua_State *L, int index, const char *what) {
  int is;
  lua_Integer n = lua_tointegerx(L, index, &is);
  if (!is || lua_type(L, index) != LUA_TNUMBER)
    luaL_error(L, "%s must be a whole number (got %s)", what,
               luaL_tolstring(L, index, NULL));
  return n;
}

static void unknown_option(lua_State *L, int index) {
  static const char *const names[] = {"chunksize", "timeout", "retries",
                                      "callback", "error_callback"};
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.nearest");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "unknown");
  lua_pushliteral(L, "option");
  lua_pushvalue(L, index);
  lua_createtable(L, 5, 0);
  for (int i = 0; i < 5; i++) {
    lua_pushstring(L, names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 3, 1);
  luaL_error(L, "%s", lua_tostring(L, -1));
}

static uint64_t seconds(lua_State *L, int index) {
  double x = lua_tonumber(L, index);
  if (lua_type(L, index) != LUA_TNUMBER || !(x > 0))
    luaL_error(L,
               "option 'timeout' must be a number of seconds above 0 "
               "(got %s)",
               luaL_tolstring(L, index, NULL));
  return x < 1e9 ? (uint64_t)(x * 1e9) : (uint64_t)1e18;
}

/* A whole number from `least` up, the option at the top of the stack. */
static int64_t count(lua_State *L, const char *name, int64_t least) {
  char text[40];
  snprintf(text, sizeof text, "option '%s'", name);
  int64_t n = whole(L, lua_gettop(L), text);
  if (n < least)
    luaL_error(L, "%s must be a whole number from %I (got %I)", text,
               (LUAI_UACINT)least, (LUAI_UACINT)n);
  return n;
}

/* The value is at the top of the stack, below it the name, which is at
   `index` too. */
static void read_option(lua_State *L, int index, tm__kernel_run *r) {
  const char *name =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  if (strcmp(name, "chunksize") == 0) {
    r->chunk = count(L, name, 1);
  } else if (strcmp(name, "timeout") == 0) {
    r->timeout = seconds(L, lua_gettop(L));
  } else if (strcmp(name, "retries") == 0) {
    int64_t n = count(L, name, 0);
    r->retries = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
  } else {
    unknown_option(L, index);
  }
}

/* The options among the fields of the range at index. What only run_async
   takes was taken out before (pool.lua). */
static void read_options(lua_State *L, int index, tm__kernel_run *r) {
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_isinteger(L, -2)) {
      lua_Integer i = lua_tointeger(L, -2);
      if (i != 1 && i != 2)
        luaL_error(L, "the range must be a number of items or {first, last}");
    } else {
      read_option(L, lua_gettop(L) - 1, r);
    }
    lua_pop(L, 1);
  }
}

/* The items at index: n, {n, ...} or {first, last, ...}, with options. */
static void read_range(lua_State *L, int index, tm__kernel_run *r) {
  r->first = 0;
  r->chunk = 0;
  r->timeout = 0;
  r->retries = 0;
  if (lua_isinteger(L, index)) {
    r->last = lua_tointeger(L, index);
  } else if (lua_istable(L, index)) {
    bool pair = lua_rawgeti(L, index, 2) != LUA_TNIL;
    if (pair) r->last = whole(L, lua_gettop(L), "the range's last");
    lua_rawgeti(L, index, 1);
    int64_t one = whole(L, lua_gettop(L),
                        pair ? "the range's first" : "the number of items");
    if (pair)
      r->first = one;
    else
      r->last = one;
    lua_pop(L, 2);
    read_options(L, index, r);
  } else {
    r->last = whole(L, index, "the number of items");
  }
  if (r->first < 0)
    luaL_error(L, "the range begins before item 0 (at %I)",
               (LUAI_UACINT)r->first);
  if (r->last < r->first)
    luaL_error(L, "the range ends before it begins (%I to %I)",
               (LUAI_UACINT)r->first, (LUAI_UACINT)r->last);
}

void tm__kernel_read(lua_State *L, int index, const char *method,
                     tm__kernel_run *r) {
  r->kernel = tm__kernel_to(L, index);
  if (!r->kernel)
    luaL_error(L, "bad argument #1 to '%s' (kernel expected, got %s)", method,
               luaL_typename(L, index));
  if (lua_gettop(L) == index)
    luaL_error(L, "kernel '%s': how many items? (a number, or {first, last})",
               r->kernel->name);
  read_range(L, index + 1, r);
  read_args(L, index + 2, r);
}

/* ---- results ---- */

int tm__kernel_push_result(lua_State *L, const tm__kernel *k,
                           const void *from) {
  const tm__reduce *r = &k->reduce;
  const double *f64 = from;
  const int64_t *i64 = from;
  if (!from) return 0;
  if (r->count > 1) lua_createtable(L, (int)r->count, 0);
  for (int64_t i = 0; i < r->count; i++) {
    if (r->dtype == TM_F64)
      lua_pushnumber(L, f64[i]);
    else
      lua_pushinteger(L, i64[i]);
    if (r->count > 1) lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

void tm__kernel_push_error(lua_State *L, const tm__kernel *k,
                           const tm__outcome *o) {
  if (o->failed) {
    tm__error_push(L, o->kind, o->text);
    lua_pushinteger(L, o->item);
    lua_setfield(L, -2, "item");
  } else {
    char text[120];
    snprintf(text, sizeof text, "kernel '%.60s' %s", k->name,
             o->kind == TM__FAIL_TIMEOUT       ? "ran out of time"
             : o->kind == TM__FAIL_INTERRUPTED ? "was interrupted"
                                               : "was cancelled");
    tm__error_push(L, o->kind, text);
  }
  lua_pushstring(L, k->name);
  lua_setfield(L, -2, "task");
}
