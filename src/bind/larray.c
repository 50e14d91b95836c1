#include "bind/larray.h"

#include <stdio.h>
#include <string.h>

/* ---- boxes ---- */

tm__arraybox *tm__array_to(lua_State *L, int index) {
  return (tm__arraybox *)(void *)tm__handle_to(L, index, TM__BUFFER);
}

tm__arraybox *tm__array_check(lua_State *L, int index) {
  return (tm__arraybox *)(void *)tm__handle_check(L, index, TM__BUFFER);
}

static int fail_readonly(lua_State *L) {
  return luaL_error(L, "the array is read-only (copy it to change it)");
}

tm__arraybox *tm__array_writable(lua_State *L, int index) {
  tm__arraybox *box = tm__array_check(L, index);
  if (box->array.readonly) fail_readonly(L);
  return box;
}

static int array_gc(lua_State *L) {
  tm__arraybox *box = tm__array_to(L, 1);
  if (!box || !box->handle.rt) return 0;
  tm__state *s = tm__state_find(L);
  if (s) s->arrays -= box->held;
  if (s && box->held && box->array.wrapped) s->wrapped--;
  box->held = 0;
  tm__maps_close(&box->handle.rt->maps, box->map);
  box->map = NULL;
  tm__handle_drop(&box->handle);
  return 0;
}

tm__arraybox *tm__array_push_empty(lua_State *L) {
  return (tm__arraybox *)(void *)tm__handle_push_sized(L, TM__BUFFER, 0, 0,
                                                       sizeof(tm__arraybox));
}

tm__arraybox *tm__array_push_view(lua_State *L, const tm__arraybox *of) {
  tm__arraybox *box = tm__array_push_empty(L);
  tm_runtime *rt = box->handle.rt;
  if (!tm__store_retain(rt->store, of->handle.key))
    luaL_error(L, "the array is gone");
  box->handle.key = of->handle.key;
  tm__maps_ref(&rt->maps, of->map);
  box->map = of->map;
  return box;
}

const char *tm__array_push_type(lua_State *L, const tm__array *a) {
  luaL_Buffer b;
  char text[24];
  luaL_buffinit(L, &b);
  luaL_addstring(&b, tm__dtype_name(a->dtype));
  for (int i = 0; i < a->rank; i++) {
    snprintf(text, sizeof text, "%c%llu", i ? 'x' : '[',
             (unsigned long long)a->shape[i]);
    luaL_addstring(&b, text);
  }
  luaL_addchar(&b, ']');
  luaL_pushresult(&b);
  return lua_tostring(L, -1);
}

/* ---- on their way ---- */

/* dtype, rank, flags, five bytes of nothing, offset, extents. */
enum { DTYPE, RANK, FLAGS, OFFSET = 8, SHAPE = 16 };
enum { FLAG_READONLY = 1, FLAG_MAPPED = 2, FLAG_WRAPPED = 4 };
enum { MOST_BYTES = SHAPE + 8 * TM__RANK_MAX };

const char *tm__array_describe(lua_State *L, int index, size_t *n) {
  const tm__array *a = &tm__array_to(L, index)->array;
  char bytes[MOST_BYTES] = {0};
  bytes[DTYPE] = (char)a->dtype;
  bytes[RANK] = (char)a->rank;
  bytes[FLAGS] =
      (char)((a->readonly ? FLAG_READONLY : 0) | (a->mapped ? FLAG_MAPPED : 0) |
             (a->wrapped ? FLAG_WRAPPED : 0));
  memcpy(bytes + OFFSET, &a->offset, 8);
  memcpy(bytes + SHAPE, a->shape, 8u * a->rank);
  *n = SHAPE + 8u * a->rank;
  return lua_pushlstring(L, bytes, *n);
}

static void malformed(lua_State *L) {
  luaL_error(L, "malformed message (an array)");
}

static void read_description(lua_State *L, tm__array *a,
                             const unsigned char *bytes, size_t n) {
  uint64_t shape[TM__RANK_MAX];
  if (n < SHAPE || bytes[DTYPE] >= TM__DTYPES || bytes[RANK] < 1 ||
      bytes[RANK] > TM__RANK_MAX || n != SHAPE + 8u * bytes[RANK])
    malformed(L);
  memcpy(&a->offset, bytes + OFFSET, 8);
  memcpy(shape, bytes + SHAPE, n - SHAPE);
  a->readonly = bytes[FLAGS] & FLAG_READONLY;
  a->mapped = bytes[FLAGS] & FLAG_MAPPED;
  a->wrapped = bytes[FLAGS] & FLAG_WRAPPED;
  if (!tm__array_shape(a, bytes[DTYPE], bytes[RANK], shape)) malformed(L);
}

/* The memory, of `len` bytes, at which the array's offset counts from. */
static void place(lua_State *L, tm__array *a, const unsigned char *memory,
                  size_t len) {
  size_t align = tm__dtype_size(a->dtype) < 8 ? tm__dtype_size(a->dtype) : 8;
  if (a->offset > len || tm__array_bytes(a) > len - a->offset) malformed(L);
  a->data = (unsigned char *)(uintptr_t)memory + a->offset;
  if ((uintptr_t)a->data % align) malformed(L);
}

static void open_map(lua_State *L, tm__arraybox *box) {
  tm_error e;
  tm__pin pin;
  tm_runtime *rt = box->handle.rt;
  if (tm__store_pin(rt->store, box->handle.key, &pin, &e)) tm__raise(L, &e);
  const tm__mapped *m = (const void *)pin.bytes;
  int status = tm__maps_open(&rt->maps, m->path, &m->id, &box->map, &e);
  tm__store_unpin(rt->store, &pin);
  if (status) tm__raise(L, &e);
  place(L, &box->array, box->map->base, box->map->size);
}

/* Where the memory is not, garbage must not keep its owner waiting. */
static void place_wrapped(lua_State *L, tm__arraybox *box,
                          const tm__wrapped *w) {
  if (!w->process) malformed(L);
  if (w->process == tm__wrap_process()) {
    place(L, &box->array, w->data, w->size);
    return;
  }
  tm__handle_drop(&box->handle);
  luaL_error(L, "the array is memory of the host program, which other "
                "processes do not see (send a copy: a:copy())");
}

void tm__array_receive(lua_State *L, uint64_t key, const unsigned char *bytes,
                       size_t n) {
  tm_error e;
  tm__pin pin;
  tm__arraybox *box = tm__array_push_empty(L);
  tm__store *store = box->handle.rt->store;
  read_description(L, &box->array, bytes, n);
  if (!tm__store_retain(store, key)) luaL_error(L, "the array is gone");
  box->handle.key = box->array.key = key;
  if (box->array.mapped) {
    open_map(L, box);
    return;
  }
  if (tm__store_pin(store, key, &pin, &e)) tm__raise(L, &e);
  const unsigned char *memory = pin.bytes;
  size_t len = pin.len;
  tm__wrapped w = {0};
  if (box->array.wrapped && len == sizeof w) memcpy(&w, memory, sizeof w);
  tm__store_unpin(store, &pin);
  if (!box->array.wrapped) {
    place(L, &box->array, memory, len);
    tm__array_hold(L, box, len);
    return;
  }
  place_wrapped(L, box, &w);
  tm__array_hold(L, box, w.size);
}

/* ---- elements ---- */

void tm__element_read(lua_State *L, int index, tm__element *out) {
  *out = (tm__element){.integer = lua_isinteger(L, index)};
  if (out->integer)
    out->i = lua_tointeger(L, index);
  else if (lua_type(L, index) == LUA_TNUMBER)
    out->re = lua_tonumber(L, index);
  else
    luaL_error(L, "a number expected, got %s", luaL_typename(L, index));
}

int tm__element_push(lua_State *L, const tm__array *a, const tm__element *x) {
  if (x->integer)
    lua_pushinteger(L, x->i);
  else
    lua_pushnumber(L, x->re);
  if (a->dtype != TM__C128) return 1;
  lua_pushnumber(L, x->im);
  return 2;
}

static double real(const tm__element *x) {
  return x->integer ? (double)x->i : x->re;
}

void tm__element_args(lua_State *L, const tm__array *a, int index,
                      tm__element *out) {
  tm__element im;
  luaL_checktype(L, index, LUA_TNUMBER);
  tm__element_read(L, index, out);
  if (a->dtype != TM__C128 || lua_isnoneornil(L, index + 1)) return;
  luaL_checktype(L, index + 1, LUA_TNUMBER);
  tm__element_read(L, index + 1, &im);
  *out = (tm__element){.re = real(out), .im = real(&im)};
}

void tm__array_store(lua_State *L, int index, const tm__array *a, uint64_t i) {
  tm__element x;
  tm_error e;
  if (a->dtype == TM__F64 && lua_type(L, index) == LUA_TNUMBER &&
      !lua_isinteger(L, index)) {
    ((double *)(void *)a->data)[i] = lua_tonumber(L, index);
    return;
  }
  tm__element_read(L, index, &x);
  int fit = tm__array_put(a, i, &x);
  if (fit == TM__FITS) return;
  tm__element_fault(&e, a->dtype, &x, fit);
  luaL_error(L, "%s", e.text);
}

void tm__array_result(lua_State *L, const tm__arraybox *out, int first, int n,
                      uint64_t i) {
  if (n > 0 && lua_type(L, first) == LUA_TNUMBER) {
    tm__array_store(L, first, &out->array, i);
    return;
  }
  luaL_error(L, "the result of item %I is %s; the array 'out' takes numbers",
             (lua_Integer)i + 1, n > 0 ? luaL_typename(L, first) : "nothing");
}

int tm__array_push_item(lua_State *L, const tm__arraybox *box, uint64_t i) {
  const tm__array *a = &box->array;
  const void *data = a->data;
  if (a->rank > 1) {
    tm__arraybox *row = tm__array_push_view(L, box);
    tm__array_row(a, i, &row->array);
    return 1;
  }
  switch (a->dtype) {
  case TM__F64: lua_pushnumber(L, ((const double *)data)[i]); return 1;
  case TM__F32: lua_pushnumber(L, (double)((const float *)data)[i]); return 1;
  case TM__I64: lua_pushinteger(L, ((const int64_t *)data)[i]); return 1;
  case TM__I32: lua_pushinteger(L, ((const int32_t *)data)[i]); return 1;
  case TM__U8: lua_pushinteger(L, a->data[i]); return 1;
  default:
    lua_pushnumber(L, ((const double *)data)[2 * i]);
    lua_pushnumber(L, ((const double *)data)[2 * i + 1]);
    return 2;
  }
}

/* ---- a[i] ---- */

/* What is no index is the name of a field or a method. The table at upvalue 1
   has functions, and numbers for fields. */
enum { FIELD_DTYPE = 1, FIELD_SHAPE, FIELD_SIZE, FIELD_RANK, FIELD_READONLY };

static void push_shape(lua_State *L, const tm__array *a) {
  lua_createtable(L, a->rank, 0);
  for (int i = 0; i < a->rank; i++) {
    lua_pushinteger(L, (lua_Integer)a->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static int push_named(lua_State *L, const tm__array *a) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER) return 1;
  switch (lua_tointeger(L, -1)) {
  case FIELD_DTYPE: lua_pushstring(L, tm__dtype_name(a->dtype)); break;
  case FIELD_SHAPE: push_shape(L, a); break;
  case FIELD_SIZE: lua_pushinteger(L, (lua_Integer)a->n); break;
  case FIELD_RANK: lua_pushinteger(L, a->rank); break;
  default: lua_pushboolean(L, a->readonly);
  }
  return 1;
}

static int bad_index(lua_State *L, const tm__array *a) {
  lua_Integer i;
  int whole;
  if (lua_type(L, 2) != LUA_TNUMBER)
    return luaL_error(L, "an array index is a whole number (got %s)",
                      luaL_typename(L, 2));
  i = lua_tointegerx(L, 2, &whole);
  if (!whole)
    return luaL_error(L, "an array index is a whole number (got %f)",
                      lua_tonumber(L, 2));
  if (a->shape[0] == 0)
    return luaL_error(L, "index %I of an array without elements", i);
  return luaL_error(L, "index %I is out of bounds (1 to %I)", i,
                    (lua_Integer)a->shape[0]);
}

/* The index at 2, from 0; false when it is none. 1.0 is one, as in tables. */
static inline bool get_index(lua_State *L, const tm__array *a, uint64_t *i) {
  int whole;
  *i = (uint64_t)lua_tointegerx(L, 2, &whole) - 1;
  return whole && *i < a->shape[0] && lua_type(L, 2) == LUA_TNUMBER;
}

/* The metatable is not to be had without the debug library: whoever calls
   this has an array. */
static int array_index(lua_State *L) {
  const tm__arraybox *box = lua_touserdata(L, 1);
  uint64_t i;
  if (!box) return luaL_error(L, "an array expected");
  if (lua_isinteger(L, 2)) { /* the commonest, in few calls */
    i = (uint64_t)lua_tointeger(L, 2) - 1;
    if (box->array.dtype == TM__F64 && box->array.rank == 1 &&
        i < box->array.shape[0]) {
      lua_pushnumber(L, ((const double *)(void *)box->array.data)[i]);
      return 1;
    }
  }
  if (lua_type(L, 2) == LUA_TSTRING) return push_named(L, &box->array);
  if (!get_index(L, &box->array, &i)) return bad_index(L, &box->array);
  if (box->array.dtype == TM__C128 && box->array.rank == 1)
    return luaL_error(L, "an element of a c128 array is two numbers: use "
                         "get and set");
  return tm__array_push_item(L, box, i);
}

static int assign_row(lua_State *L, const tm__array *a, uint64_t i) {
  tm__array row;
  tm_error e;
  const tm__arraybox *from = tm__array_to(L, 3);
  tm__array_row(a, i, &row);
  if (!from)
    return luaL_error(L,
                      "a row of the array is assigned another array of "
                      "its shape (got %s; fill sets all elements)",
                      luaL_typename(L, 3));
  if (!tm__array_alike(&row, &from->array)) {
    tm__array_push_type(L, &row);
    tm__array_push_type(L, &from->array);
    return luaL_error(L, "a row is %s, what is assigned is %s",
                      lua_tostring(L, -2), lua_tostring(L, -1));
  }
  if (tm__array_copy(&row, &from->array, &e)) return tm__raise(L, &e);
  return 0;
}

static int array_newindex(lua_State *L) {
  const tm__arraybox *box = lua_touserdata(L, 1);
  uint64_t i;
  if (!box) return luaL_error(L, "an array expected");
  const tm__array *a = &box->array;
  if (!get_index(L, a, &i)) return bad_index(L, a);
  if (a->readonly) return fail_readonly(L);
  if (a->rank > 1) return assign_row(L, a, i);
  tm__array_store(L, 3, a, i);
  return 0;
}

static int array_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)tm__array_check(L, 1)->array.shape[0]);
  return 1;
}

static int array_eq(lua_State *L) {
  const tm__arraybox *a = tm__array_to(L, 1), *b = tm__array_to(L, 2);
  lua_pushboolean(L, a && b && tm__array_same(&a->array, &b->array));
  return 1;
}

/* ---- iteration ---- */

static int next_item(lua_State *L) {
  const tm__arraybox *box = tm__array_check(L, 1);
  uint64_t i = (uint64_t)luaL_checkinteger(L, 2);
  if (i >= box->array.shape[0]) return 0;
  lua_pushinteger(L, (lua_Integer)i + 1);
  return 1 + tm__array_push_item(L, box, i);
}

/* iter(a) -> what a generic for takes: i, a[i] (or i, re, im) */
static int array_iter(lua_State *L) {
  tm__array_check(L, 1);
  lua_pushcfunction(L, next_item);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  return 3;
}

/* ---- registration ---- */

static void set_fields(lua_State *L) {
  static const char *const names[] = {[FIELD_DTYPE] = "dtype",
                                      [FIELD_SHAPE] = "shape",
                                      [FIELD_SIZE] = "size",
                                      [FIELD_RANK] = "rank",
                                      [FIELD_READONLY] = "readonly"};
  for (int i = FIELD_DTYPE; i <= FIELD_READONLY; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, names[i]);
  }
}

void tm__array_register(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", array_gc},
                                  {"__newindex", array_newindex},
                                  {"__len", array_len},
                                  {"__eq", array_eq},
                                  {"__pairs", array_iter},
                                  {"__tostring", tm__array_tostring},
                                  {NULL, NULL}};
  tm__handle_meta(L, TM__BUFFER, "tidemill.array");
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  set_fields(L);
  lua_pushcfunction(L, array_iter);
  lua_setfield(L, -2, "iter");
  tm__array_register_methods(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, "array_methods");
  lua_pushcclosure(L, array_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "tidemill.array");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  tm__array_register_new(L);
  tm__array_register_file(L);
}
