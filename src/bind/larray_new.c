/*
 * larray_new.c: making arrays, and what they weigh
 *
 * Lua's collector sees a small userdata where a GiB hangs. So each state
 * counts the bytes of the arrays that came into it, and now and then has the
 * collector work as if Lua itself had allocated them: its own pace, by
 * increments, whatever the size of the Lua heap.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bind/larray.h"

/* ---- weight ---- */

/* Debt below this is not worth a step; who holds less may sleep with it. */
#define DEBT_MIN ((size_t)32 << 20)

static void collect(lua_State *L) { lua_gc(L, LUA_GCCOLLECT); }

/* A script that stopped the collector wants it so. */
static void drive(lua_State *L, tm__state *s) {
  size_t kilobytes = s->array_debt >> 10;
  s->array_debt = 0;
  if (!lua_gc(L, LUA_GCISRUNNING)) return;
  lua_gc(L, LUA_GCSTEP, kilobytes < INT32_MAX ? (int)kilobytes : INT32_MAX);
}

void tm__array_hold(lua_State *L, tm__arraybox *box, size_t bytes) {
  tm__state *s = tm__state_get(L);
  box->held = bytes;
  s->arrays += bytes;
  if (bytes && box->array.wrapped) s->wrapped++;
  s->array_debt += bytes;
  s->array_news += bytes;
  if (s->array_debt >= DEBT_MIN) drive(L, s);
}

/* Not for what the state has had for long, and only when that is worth going
   through the whole Lua heap. */
void tm__array_rest(lua_State *L) {
  tm__state *s = tm__state_get(L);
  size_t heap = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
  if (s->arrays < DEBT_MIN || s->array_news < DEBT_MIN) return;
  if (s->array_news < heap || !lua_gc(L, LUA_GCISRUNNING)) return;
  s->array_news = 0;
  collect(L);
}

/* The collection that is under way may have seen the last one alive. In
   generational mode no cycle ends with a step: so they are counted, too. */
void tm__array_await(lua_State *L) {
  enum { CYCLES = 2, LEAST = 8, STEP_KB = 16 };
  tm__state *s = tm__state_get(L);
  s->cycles_due = CYCLES;
  s->steps_due = LEAST + lua_gc(L, LUA_GCCOUNT) / STEP_KB;
}

bool tm__array_step(lua_State *L) {
  tm__state *s = tm__state_get(L);
  if (!s->cycles_due || !lua_gc(L, LUA_GCISRUNNING)) return false;
  if (lua_gc(L, LUA_GCSTEP, 0)) s->cycles_due--;
  if (--s->steps_due <= 0) s->cycles_due = 0;
  return s->cycles_due > 0;
}

/* ---- memory ---- */

/* Sizes for which it is worth asking what the machine has. */
#define LARGE ((size_t)16 << 20)

static const char *push_size(lua_State *L, uint64_t bytes) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB",
                                      "TiB",   "PiB", "EiB"};
  double x = (double)bytes;
  char text[40];
  int unit = 0;
  for (; x >= 1024 && unit < 6; unit++) x /= 1024;
  snprintf(text, sizeof text, "%.4g %s", x, units[unit]);
  return lua_pushstring(L, text);
}

/* What arrays may still take of the memory that this process may use. */
static uint64_t room(tm_runtime *rt, uint64_t *limit) {
  tm__arena_stats stats;
  *limit = tm__memory_limit();
  tm__arena_stat(rt->arena, &stats);
  return stats.used < *limit ? *limit - stats.used : 0;
}

static int no_room(lua_State *L, const tm__array *a, uint64_t limit) {
  tm_runtime *rt = tm__state_get(L)->rt;
  tm__arena_stats stats;
  tm__arena_stat(rt->arena, &stats);
  const char *type = tm__array_push_type(L, a);
  const char *size = push_size(L, tm__array_bytes(a));
  const char *used = push_size(L, stats.used);
  if (limit && limit <= stats.reserved)
    return luaL_error(L,
                      "not enough memory for an array %s of %s: this "
                      "process may use %s, and %s are in use",
                      type, size, push_size(L, limit), used);
  return luaL_error(L,
                    "not enough memory for an array %s of %s: the arena "
                    "has %s, of which %s are in use (see arena_size)",
                    type, size, push_size(L, stats.reserved), used);
}

static bool try_add(tm__state *s, tm__arraybox *box, size_t bytes) {
  return tm__store_add(s->rt->store, TM__BUFFER, s->uid, NULL, bytes,
                       &box->handle.key, NULL) == TM_OK;
}

/* What is garbage may be all that is missing. Its finalisers run within the
   collection. */
static void allocate(lua_State *L, tm__arraybox *box) {
  tm__state *s = tm__state_get(L);
  size_t bytes = tm__array_bytes(&box->array);
  uint64_t limit = 0;
  for (int attempt = 0; attempt < 2; attempt++) {
    bool fits = bytes < LARGE || bytes <= room(s->rt, &limit);
    if (fits && try_add(s, box, bytes)) return;
    if (attempt == 0) collect(L);
    if (fits) limit = 0;
  }
  no_room(L, &box->array, limit);
}

/* Entries of this kind are never updated: the memory stays where it is while
   there is a count on it. */
static unsigned char *memory_of(lua_State *L, const tm__arraybox *box) {
  tm_error e;
  tm__pin pin;
  tm__store *store = box->handle.rt->store;
  if (tm__store_pin(store, box->handle.key, &pin, &e)) tm__raise(L, &e);
  unsigned char *data = (unsigned char *)(uintptr_t)pin.bytes;
  tm__store_unpin(store, &pin);
  return data;
}

tm__arraybox *tm__array_push(lua_State *L, int dtype, int rank,
                             const uint64_t *shape) {
  tm__arraybox *box = tm__array_push_empty(L);
  if (!tm__array_shape(&box->array, dtype, rank, shape)) {
    tm__array_push_type(L, &box->array);
    luaL_error(L, "an array %s is larger than any memory", lua_tostring(L, -1));
  }
  allocate(L, box);
  box->array.key = box->handle.key;
  box->array.data = memory_of(L, box);
  tm__array_hold(L, box, tm__array_bytes(&box->array));
  return box;
}

/* ---- array(dtype, shape) ---- */

static int check_dtype(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  int dtype = tm__dtype_of(name);
  if (dtype < 0)
    luaL_error(L, "unknown dtype '%s' (f64, f32, i64, i32, u8, c128)", name);
  return dtype;
}

static uint64_t check_extent(lua_State *L, int index, int value) {
  int whole;
  lua_Integer n = lua_tointegerx(L, value, &whole);
  bool number = lua_type(L, value) == LUA_TNUMBER;
  if (!whole || !number)
    luaL_argerror(L, index,
                  lua_pushfstring(L, "an extent is a whole number (got %s)",
                                  number ? luaL_tolstring(L, value, NULL)
                                         : luaL_typename(L, value)));
  if (n < 0)
    luaL_argerror(L, index,
                  lua_pushfstring(L, "an extent is not negative (got %I)", n));
  return (uint64_t)n;
}

int tm__array_read_shape(lua_State *L, int index, uint64_t *shape) {
  if (!lua_istable(L, index)) {
    shape[0] = check_extent(L, index, index);
    return 1;
  }
  lua_Integer rank = luaL_len(L, index);
  luaL_argcheck(L, rank >= 1 && rank <= TM__RANK_MAX, index,
                "a shape has 1 to 8 extents");
  for (int i = 0; i < rank; i++) {
    lua_geti(L, index, i + 1);
    shape[i] = check_extent(L, index, lua_gettop(L));
    lua_pop(L, 1);
  }
  return (int)rank;
}

static int new_array(lua_State *L) {
  uint64_t shape[TM__RANK_MAX];
  int dtype = check_dtype(L, 1);
  int rank = tm__array_read_shape(L, 2, shape);
  tm__array_push(L, dtype, rank, shape);
  return 1;
}

/* ---- array(values, dtype) ---- */

/* The shape of nested tables, by their first elements. Those of c128 are
   pairs {re, im}. */
static int infer(lua_State *L, int dtype, uint64_t *shape) {
  int rank = 0;
  lua_pushvalue(L, 1);
  while (lua_istable(L, -1)) {
    if (rank == TM__RANK_MAX + (dtype == TM__C128))
      luaL_error(L, "tables nested more than 8 deep");
    uint64_t n = (uint64_t)luaL_len(L, -1);
    if (rank < TM__RANK_MAX) shape[rank] = n;
    rank++;
    if (n == 0) break;
    lua_geti(L, -1, 1);
    lua_replace(L, -2);
  }
  lua_pop(L, 1);
  bool empty = rank == 1 && shape[0] == 0;
  if (dtype == TM__C128 && !empty && --rank == 0)
    luaL_error(L, "the elements of a c128 array are pairs {re, im}");
  return rank;
}

typedef struct filler {
  lua_State *L;
  const tm__array *a;
  uint64_t at; /* the next element */
} filler;

static void fill_pair(filler *f) {
  lua_State *L = f->L;
  tm__element re = {0}, im = {0};
  if (!lua_istable(L, -1) || luaL_len(L, -1) != 2)
    luaL_error(L, "element %I of a c128 array is not a pair {re, im}",
               (lua_Integer)f->at + 1);
  lua_geti(L, -1, 1);
  tm__element_read(L, -1, &re);
  lua_geti(L, -2, 2);
  tm__element_read(L, -1, &im);
  lua_pop(L, 2);
  double *to = (double *)(void *)f->a->data + 2 * f->at++;
  to[0] = re.integer ? (double)re.i : re.re;
  to[1] = im.integer ? (double)im.i : im.re;
}

/* The table at the top, which stands for dimension `dim` and below. */
static void fill_level(filler *f, int dim) {
  lua_State *L = f->L;
  if (!lua_istable(L, -1))
    luaL_error(L,
               "the tables are not of one depth: a %s where a table of %I "
               "elements is expected",
               luaL_typename(L, -1), (lua_Integer)f->a->shape[dim]);
  lua_Integer n = luaL_len(L, -1);
  if ((uint64_t)n != f->a->shape[dim])
    luaL_error(L,
               "the tables are ragged: one of dimension %d has %I "
               "elements, the first has %I",
               dim + 1, n, (lua_Integer)f->a->shape[dim]);
  tm__checkstack(L, 6);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, -1, i);
    if (dim + 1 < f->a->rank)
      fill_level(f, dim + 1);
    else if (f->a->dtype == TM__C128)
      fill_pair(f);
    else
      tm__array_store(L, -1, f->a, f->at++);
    lua_pop(L, 1);
  }
}

static int array_of(lua_State *L) {
  uint64_t shape[TM__RANK_MAX] = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  int dtype = lua_isnoneornil(L, 2) ? TM__F64 : check_dtype(L, 2);
  lua_settop(L, 2);
  int rank = infer(L, dtype, shape);
  const tm__arraybox *box = tm__array_push(L, dtype, rank, shape);
  filler f = {.L = L, .a = &box->array};
  lua_pushvalue(L, 1);
  fill_level(&f, 0);
  lua_pop(L, 1);
  return 1;
}

/* array(tm.array, dtype, shape) or array(tm.array, values, dtype): what the
   first argument is decides. */
static int array(lua_State *L) {
  lua_remove(L, 1);
  if (lua_type(L, 1) == LUA_TSTRING) return new_array(L);
  if (lua_istable(L, 1)) return array_of(L);
  return luaL_typeerror(L, 1, "dtype, or table of values,");
}

/* is_array(x) -> whether it is one */
static int is_array(lua_State *L) {
  lua_pushboolean(L, tm__array_to(L, 1) != NULL);
  return 1;
}

void tm__array_register_new(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"array", array}, {"is_array", is_array}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
