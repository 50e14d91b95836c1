/*
 * larray_ops.c: the methods of arrays
 */
#include <stdio.h>

#include "bind/larray.h"

/* Methods that change an array answer it, so that calls can be chained. */
static int answer_self(lua_State *L) {
  lua_settop(L, 1);
  return 1;
}

static int check(lua_State *L, int status, const tm_error *e) {
  return status ? tm__raise(L, e) : 0;
}

/* ---- elements ---- */

/* Goes down by the indices at 2 .. 1 + count; the last one may stay an index
   of the innermost array, in *i. */
static void walk(lua_State *L, tm__array *a, int count, uint64_t *i) {
  for (int k = 0; k < count; k++) {
    lua_Integer index = luaL_checkinteger(L, 2 + k);
    *i = (uint64_t)index - 1;
    if (*i >= a->shape[0])
      luaL_error(L, "index %I is out of bounds (1 to %I) in dimension %d",
                 index, (lua_Integer)a->shape[0], k + 1);
    if (a->rank == 1) return;
    tm__array row;
    tm__array_row(a, *i, &row);
    *a = row;
  }
}

static int fail_indices(lua_State *L, const tm__array *a, int given,
                        const char *method) {
  return luaL_error(L, "%s: an array of rank %d takes %d %s (got %d)", method,
                    (int)a->rank, (int)a->rank,
                    a->rank == 1 ? "index" : "indices", given);
}

/* a:get(i, j, ...) -> element (re, im of c128); of fewer indices, a view */
static int array_get(lua_State *L) {
  const tm__arraybox *box = tm__array_check(L, 1);
  tm__array a = box->array;
  tm__element x;
  uint64_t i = 0;
  int count = lua_gettop(L) - 1;
  if (count < 1 || count > a.rank) return fail_indices(L, &a, count, "get");
  walk(L, &a, count, &i);
  if (count < box->array.rank) {
    tm__array_push_view(L, box)->array = a;
    return 1;
  }
  tm__array_get(&a, i, &x);
  return tm__element_push(L, &a, &x);
}

/* a:set(i, j, ..., v), of c128 v is re, im */
static int array_set(lua_State *L) {
  tm__array a = tm__array_writable(L, 1)->array;
  tm__element x;
  tm_error e;
  uint64_t i = 0;
  int rank = a.rank, values = lua_gettop(L) - 1 - rank;
  bool pair = a.dtype == TM__C128 && values == 2;
  if (values != 1 && !pair)
    return luaL_error(L, "set: %d %s and a value expected", rank,
                      rank == 1 ? "index" : "indices");
  walk(L, &a, rank, &i);
  tm__element_args(L, &a, 2 + rank, &x);
  int fit = tm__array_put(&a, i, &x);
  if (fit == TM__FITS) return answer_self(L);
  tm__element_fault(&e, a.dtype, &x, fit);
  return tm__raise(L, &e);
}

/* ---- views ---- */

/* a:view(first, last): rows (or elements) first to last, 1 to #a */
static int array_view(lua_State *L) {
  const tm__arraybox *box = tm__array_check(L, 1);
  lua_Integer n = (lua_Integer)box->array.shape[0];
  lua_Integer first = luaL_optinteger(L, 2, 1);
  lua_Integer last = luaL_optinteger(L, 3, n);
  if (first < 1 || last > n || first > last + 1 || last < 0)
    return luaL_error(L, "view: %I to %I is out of bounds (1 to %I)", first,
                      last, n);
  tm__arraybox *view = tm__array_push_view(L, box);
  tm__array_slice(&box->array, (uint64_t)first - 1,
                  (uint64_t)(last - first + 1), &view->array);
  return 1;
}

/* Gathers the arguments from 2 on as a table, unless there is one. */
static void gather_shape(lua_State *L) {
  int n = lua_gettop(L) - 1;
  if (n == 1 && lua_istable(L, 2)) return;
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, 1 + i);
    lua_rawseti(L, -2, i);
  }
  lua_replace(L, 2);
}

/* a:reshape(n, m, ...) or a:reshape{n, m, ...}: a view */
static int array_reshape(lua_State *L) {
  const tm__arraybox *box = tm__array_check(L, 1);
  uint64_t shape[TM__RANK_MAX];
  luaL_checkany(L, 2);
  gather_shape(L);
  int rank = tm__array_read_shape(L, 2, shape);
  tm__arraybox *view = tm__array_push_view(L, box);
  tm__array to = box->array;
  bool fits = tm__array_shape(&to, box->array.dtype, rank, shape);
  if (!fits || to.n != box->array.n) {
    tm__array_push_type(L, &box->array);
    tm__array_push_type(L, &to);
    return luaL_error(L,
                      "reshape: %s and %s have different numbers of "
                      "elements",
                      lua_tostring(L, -2), lua_tostring(L, -1));
  }
  view->array = to;
  return 1;
}

/* a:copy(dtype): its own memory, of the same type unless given */
static int array_copy(lua_State *L) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  const char *name = luaL_optstring(L, 2, tm__dtype_name(a->dtype));
  tm_error e;
  int dtype = tm__dtype_of(name);
  if (dtype < 0)
    return luaL_error(L, "unknown dtype '%s' (f64, f32, i64, i32, u8, c128)",
                      name);
  const tm__arraybox *to = tm__array_push(L, dtype, a->rank, a->shape);
  check(L, tm__array_copy(&to->array, a, &e), &e);
  return 1;
}

/* ---- tables ---- */

static void push_table(lua_State *L, const tm__array *a) {
  tm__element x;
  tm__array row;
  tm__checkstack(L, 6);
  lua_createtable(L, a->shape[0] < INT32_MAX ? (int)a->shape[0] : 0, 0);
  for (uint64_t i = 0; i < a->shape[0]; i++) {
    if (a->rank > 1) {
      tm__array_row(a, i, &row);
      push_table(L, &row);
    } else {
      tm__array_get(a, i, &x);
      if (a->dtype == TM__C128) lua_createtable(L, 2, 0);
      if (tm__element_push(L, a, &x) == 2) {
        lua_rawseti(L, -3, 2);
        lua_rawseti(L, -2, 1);
      }
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

/* a:totable() -> nested tables; elements of c128 are {re, im} */
static int array_totable(lua_State *L) {
  push_table(L, &tm__array_check(L, 1)->array);
  return 1;
}

/* ---- tostring ---- */

enum { SHOWN = 8, EDGE = 3 };

static void add_element(luaL_Buffer *b, const tm__array *a, uint64_t i) {
  char text[64];
  tm__element x;
  tm__array_get(a, i, &x);
  if (x.integer)
    snprintf(text, sizeof text, "%lld", (long long)x.i);
  else if (a->dtype == TM__C128)
    snprintf(text, sizeof text, "%.6g%+.6gi", x.re, x.im);
  else
    snprintf(text, sizeof text, "%.6g", x.re);
  luaL_addstring(b, text);
}

/* [1 2 3 ... 9 10], of long rows the ends, and so for rows. */
static void add_array(luaL_Buffer *b, const tm__array *a) {
  tm__array row;
  luaL_addchar(b, '[');
  for (uint64_t i = 0; i < a->shape[0]; i++) {
    if (i) luaL_addchar(b, ' ');
    if (a->shape[0] > SHOWN && i == EDGE) {
      luaL_addstring(b, "... ");
      i = a->shape[0] - EDGE;
    }
    if (a->rank == 1) {
      add_element(b, a, i);
    } else {
      tm__array_row(a, i, &row);
      add_array(b, &row);
    }
  }
  luaL_addchar(b, ']');
}

/* "array f64[2x3] [[1 2 3] [4 5 6]]" */
int tm__array_tostring(lua_State *L) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  luaL_Buffer b;
  lua_settop(L, 1);
  const char *type = tm__array_push_type(L, a);
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "array ");
  luaL_addstring(&b, type);
  if (a->n && a->rank <= 3) {
    luaL_addchar(&b, ' ');
    add_array(&b, a);
  }
  luaL_pushresult(&b);
  return 1;
}

/* ---- arithmetic ---- */

/* a:fill(x), of c128 x is re, im */
static int array_fill(lua_State *L) {
  const tm__array *a = &tm__array_writable(L, 1)->array;
  tm__element x;
  tm_error e;
  tm__element_args(L, a, 2, &x);
  check(L, tm__array_fill(a, &x, &e), &e);
  return answer_self(L);
}

static void check_alike(lua_State *L, const tm__array *a, const tm__array *b,
                        const char *method) {
  if (a->dtype == b->dtype && tm__array_alike(a, b)) return;
  tm__array_push_type(L, a);
  tm__array_push_type(L, b);
  luaL_error(L, "%s: both arrays must be of one type and shape (%s and %s)",
             method, lua_tostring(L, -2), lua_tostring(L, -1));
}

/* a:add(x) or a:add(b): a number to each element, or b's to a's */
static int array_add(lua_State *L) {
  const tm__array *a = &tm__array_writable(L, 1)->array;
  const tm__arraybox *b = tm__array_to(L, 2);
  tm__element x;
  tm_error e;
  if (b) {
    check_alike(L, a, &b->array, "add");
    check(L, tm__array_plus(a, &b->array, &e), &e);
  } else {
    if (lua_type(L, 2) != LUA_TNUMBER) luaL_typeerror(L, 2, "number or array");
    tm__element_args(L, a, 2, &x);
    check(L, tm__array_add(a, &x, &e), &e);
  }
  return answer_self(L);
}

/* a:scale(x): each element times x */
static int array_scale(lua_State *L) {
  const tm__array *a = &tm__array_writable(L, 1)->array;
  tm__element x;
  tm_error e;
  tm__element_args(L, a, 2, &x);
  check(L, tm__array_scale(a, &x, &e), &e);
  return answer_self(L);
}

/* a:dot(b): of c128 the conjugate of a times b */
static int array_dot(lua_State *L) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  const tm__array *b = &tm__array_check(L, 2)->array;
  tm__element x;
  tm_error e;
  check_alike(L, a, b, "dot");
  check(L, tm__array_dot(a, b, &x, &e), &e);
  return tm__element_push(L, a, &x);
}

typedef int (*reduction)(const tm__array *, tm__element *, tm_error *);

static int reduce(lua_State *L, reduction f) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  tm__element x;
  tm_error e;
  check(L, f(a, &x, &e), &e);
  return tm__element_push(L, a, &x);
}

static int array_sum(lua_State *L) { return reduce(L, tm__array_sum); }
static int array_min(lua_State *L) { return reduce(L, tm__array_min); }
static int array_max(lua_State *L) { return reduce(L, tm__array_max); }

void tm__array_register_methods(lua_State *L) {
  static const luaL_Reg methods[] = {{"get", array_get},
                                     {"set", array_set},
                                     {"view", array_view},
                                     {"reshape", array_reshape},
                                     {"copy", array_copy},
                                     {"totable", array_totable},
                                     {"fill", array_fill},
                                     {"add", array_add},
                                     {"scale", array_scale},
                                     {"dot", array_dot},
                                     {"sum", array_sum},
                                     {"min", array_min},
                                     {"max", array_max},
                                     {"save", tm__array_save},
                                     {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
