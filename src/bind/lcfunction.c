#include "bind/lcfunction.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "bind/cdecl.h"
#include "bind/larray.h"
#include "bind/module.h"
#include "run/call.h"

static const char cfunction_type[] = "tidemill.cfunction";

#ifdef TM_HAVE_FFI

#include <ffi.h>

/* What the runtime keeps of a C function, for good: kernel->user. */
typedef struct cfunction {
  tm__cdecl decl;
  void (*address)(void);
  bool mappable; /* numbers in, a number out */
  ffi_cif cif;
  ffi_type *types[TM__CDECL_PARAMS];
} cfunction;

/* A value on its way to or from C; small integers come back widened. */
typedef union cvalue {
  double d;
  float f;
  int8_t i8;
  int16_t i16;
  int32_t i32;
  int64_t i64;
  void *p;
  ffi_arg wide;
} cvalue;

/* ---- libffi, loaded with the first function ---- */

static struct {
  pthread_once_t once;
  bool loaded;
  ffi_status (*prep_cif)(ffi_cif *, ffi_abi, unsigned, ffi_type *, ffi_type **);
  void (*call)(ffi_cif *, void (*)(void), void *, void **);
  ffi_type *void_, *float_, *double_, *pointer;
  ffi_type *ints[4][2]; /* of 1, 2, 4, 8 bytes; unsigned, signed */
} ffi = {.once = PTHREAD_ONCE_INIT};

static void *open_libffi(void) {
  static const char *const names[] = {"libffi.so.8", "libffi.so.7",
                                      "libffi.so"};
  void *handle = NULL;
  for (int i = 0; i < 3 && !handle; i++)
    handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  return handle;
}

static void load_libffi(void) {
  static const char *const ints[4][2] = {
      {"ffi_type_uint8", "ffi_type_sint8"},
      {"ffi_type_uint16", "ffi_type_sint16"},
      {"ffi_type_uint32", "ffi_type_sint32"},
      {"ffi_type_uint64", "ffi_type_sint64"}};
  void *handle = open_libffi();
  if (!handle) return;
  void *prep = dlsym(handle, "ffi_prep_cif"), *call = dlsym(handle, "ffi_call");
  memcpy(&ffi.prep_cif, &prep, sizeof prep);
  memcpy(&ffi.call, &call, sizeof call);
  ffi.void_ = dlsym(handle, "ffi_type_void");
  ffi.float_ = dlsym(handle, "ffi_type_float");
  ffi.double_ = dlsym(handle, "ffi_type_double");
  ffi.pointer = dlsym(handle, "ffi_type_pointer");
  ffi.loaded =
      prep && call && ffi.void_ && ffi.float_ && ffi.double_ && ffi.pointer;
  for (int i = 0; i < 8; i++) {
    ffi.ints[i / 2][i % 2] = dlsym(handle, ints[i / 2][i % 2]);
    if (!ffi.ints[i / 2][i % 2]) ffi.loaded = false;
  }
}

static ffi_type *type_of(const tm__ctype *t) {
  switch (t->kind) {
  case TM__C_VOID: return ffi.void_;
  case TM__C_FLOAT: return t->size == 8 ? ffi.double_ : ffi.float_;
  case TM__C_INT: break;
  default: return ffi.pointer;
  }
  int log = t->size == 1 ? 0 : t->size == 2 ? 1 : t->size == 4 ? 2 : 3;
  return ffi.ints[log][t->is_signed];
}

/* ---- numbers ---- */

static void set_int(cvalue *v, int size, int64_t x) {
  switch (size) {
  case 1: v->i8 = (int8_t)x; break;
  case 2: v->i16 = (int16_t)x; break;
  case 4: v->i32 = (int32_t)x; break;
  default: v->i64 = x; break;
  }
}

/* An integer that came back: cut to its size, and widened by its sign. */
static int64_t get_int(const cvalue *v, const tm__ctype *t) {
  uint64_t x =
      t->size <= (int)sizeof(ffi_arg) ? (uint64_t)v->wide : (uint64_t)v->i64;
  int unused = 64 - 8 * t->size;
  if (t->is_signed) return (int64_t)(x << unused) >> unused;
  return (int64_t)(x << unused >> unused);
}

static bool int_fits(const tm__ctype *t, int64_t x) {
  if (t->size == 8) return t->is_signed || x >= 0;
  int bits = 8 * t->size;
  if (t->is_signed) {
    int64_t most = ((int64_t)1 << (bits - 1)) - 1;
    return x >= -most - 1 && x <= most;
  }
  return x >= 0 && x < (int64_t)1 << bits;
}

/* ---- calling from Lua ---- */

static void *check_pointer(lua_State *L, int index, const tm__ctype *t) {
  if (lua_isnil(L, index)) return NULL;
  const tm__arraybox *box = tm__array_check(L, index);
  if (t->dtype >= 0 && box->array.dtype != t->dtype) {
    lua_pushfstring(L, "%s array expected, got %s", tm__dtype_name(t->dtype),
                    tm__dtype_name(box->array.dtype));
    luaL_argerror(L, index, lua_tostring(L, -1));
  }
  if (!t->is_const && box->array.readonly)
    luaL_argerror(L, index, "the array is read-only");
  return box->array.data;
}

static void read_argument(lua_State *L, int index, const tm__ctype *t,
                          cvalue *out) {
  lua_Integer i;
  switch (t->kind) {
  case TM__C_FLOAT:
    if (t->size == 8)
      out->d = luaL_checknumber(L, index);
    else
      out->f = (float)luaL_checknumber(L, index);
    break;
  case TM__C_INT:
    i = lua_isboolean(L, index) ? lua_toboolean(L, index)
                                : luaL_checkinteger(L, index);
    if (!int_fits(t, i)) luaL_argerror(L, index, "the number does not fit");
    set_int(out, t->size, i);
    break;
  case TM__C_STRING:
    if (lua_type(L, index) == LUA_TUSERDATA)
      out->p = check_pointer(L, index, t);
    else
      out->p = (void *)(uintptr_t)luaL_optstring(L, index, NULL);
    break;
  default: out->p = check_pointer(L, index, t); break;
  }
}

static int push_value(lua_State *L, const tm__ctype *t, const cvalue *v) {
  switch (t->kind) {
  case TM__C_VOID: return 0;
  case TM__C_FLOAT:
    lua_pushnumber(L, t->size == 8 ? v->d : (double)v->f);
    return 1;
  case TM__C_INT: lua_pushinteger(L, get_int(v, t)); return 1;
  case TM__C_STRING: lua_pushstring(L, v->p); return 1;
  default: lua_pushlightuserdata(L, v->p); return 1;
  }
}

static tm__kernel *check(lua_State *L, int index) {
  return *(tm__kernel **)luaL_checkudata(L, index, cfunction_type);
}

static int cfunction_call(lua_State *L) {
  cvalue values[TM__CDECL_PARAMS], result;
  void *places[TM__CDECL_PARAMS];
  cfunction *f = check(L, 1)->user;
  lua_remove(L, 1);
  int n = lua_gettop(L);
  if (n != f->decl.count)
    return luaL_error(L, "%s: %d arguments expected, got %d", f->decl.name,
                      f->decl.count, n);
  for (int i = 0; i < n; i++) {
    read_argument(L, i + 1, &f->decl.params[i], &values[i]);
    places[i] = &values[i];
  }
  memset(&result, 0, sizeof result);
  ffi.call(&f->cif, f->address, &result, places);
  return push_value(L, &f->decl.result, &result);
}

/* ---- running over arrays ---- */

static size_t element_size(const tm_arg *a) { return tm__dtype_size(a->dtype); }

/* Functions of doubles, the commonest, without libffi. */
static bool run_doubles(const cfunction *f, const tm_call *c, const tm_arg *a) {
  union {
    void (*any)(void);
    double (*one)(double);
    double (*two)(double, double);
  } u = {.any = f->address};
  if (f->decl.count > 2 || f->decl.count == 0) return false;
  for (int i = 0; i <= f->decl.count; i++)
    if (a[i].dtype != TM_F64) return false;
  if (f->decl.count == 1)
    for (int64_t i = c->first; i < c->last; i++)
      a[0].f64[i] = u.one(a[1].f64[i]);
  else
    for (int64_t i = c->first; i < c->last; i++)
      a[0].f64[i] = u.two(a[1].f64[i], a[2].f64[i]);
  return true;
}

static void store(const tm__ctype *t, const cvalue *v, void *at) {
  cvalue x = *v;
  if (t->kind == TM__C_INT) set_int(&x, t->size, get_int(v, t));
  memcpy(at, &x, (size_t)t->size);
}

static int run_over(const tm_call *c, const tm_arg *a) {
  const tm__work *w = (const tm__work *)(const void *)c;
  cfunction *f = w->call->kernel->user;
  void *places[TM__CDECL_PARAMS];
  cvalue result;
  if (run_doubles(f, c, a)) return 0;
  memset(&result, 0, sizeof result);
  for (int64_t i = c->first; i < c->last; i++) {
    for (int k = 0; k < f->decl.count; k++)
      places[k] = (char *)a[k + 1].p + (size_t)i * element_size(&a[k + 1]);
    ffi.call(&f->cif, f->address, &result, places);
    store(&f->decl.result, &result,
          (char *)a[0].p + (size_t)i * element_size(&a[0]));
  }
  return 0;
}

/* "f64[#] out, const f64[#] a1", or false when it takes or gives what is no
   number of an array. */
static bool write_signature(const tm__cdecl *d, char *out, size_t size) {
  const tm__ctype *r = &d->result;
  if ((r->kind != TM__C_FLOAT && r->kind != TM__C_INT) || r->dtype < 0)
    return false;
  size_t n = (size_t)snprintf(out, size, "%s[#] out", tm__dtype_name(r->dtype));
  for (int i = 0; i < d->count; i++) {
    const tm__ctype *t = &d->params[i];
    if ((t->kind != TM__C_FLOAT && t->kind != TM__C_INT) || t->dtype < 0)
      return false;
    n += (size_t)snprintf(out + n, size - n, ", const %s[#] a%d",
                          tm__dtype_name(t->dtype), i + 1);
  }
  return true;
}

/* ---- making ---- */

static int find_symbol(const char *library, cfunction *f, tm_error *e) {
  void *handle = dlopen(*library ? library : NULL, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return tm__fail(e, TM_ESYS, "%s", dlerror());
  void *symbol = dlsym(handle, f->decl.name);
  if (!symbol)
    return tm__fail(e, TM_EINVAL, "%.200s has no function '%s'",
                    *library ? library : "the program", f->decl.name);
  memcpy(&f->address, &symbol, sizeof symbol);
  return TM_OK;
}

static int prepare(const char *library, const char *text, cfunction *f,
                   tm_error *e) {
  int status = tm__cdecl_parse(&f->decl, text, e);
  pthread_once(&ffi.once, load_libffi);
  if (!status && !ffi.loaded)
    return tm__fail(e, TM_ESYS,
                    "libffi is not there (on Debian: apt-get "
                    "install libffi8)");
  if (!status) status = find_symbol(library, f, e);
  if (status) return status;
  for (int i = 0; i < f->decl.count; i++)
    f->types[i] = type_of(&f->decl.params[i]);
  if (ffi.prep_cif(&f->cif, FFI_DEFAULT_ABI, (unsigned)f->decl.count,
                   type_of(&f->decl.result), f->types) != FFI_OK)
    return tm__fail(e, TM_EINVAL, "libffi does not take \"%.200s\"", text);
  return TM_OK;
}

/* A kernel's path is this and the library's. */
#define PREFIX "function of "

/* The kernel for a declaration: a tm__define_fn. */
static int define(tm__kernels *ks, const char *path, const char *text,
                  tm__kernel **out, tm_error *e) {
  char signature[400] = "";
  cfunction *f = tm__calloc(ks->mem, 1, sizeof *f);
  if (!f) return tm__fail(e, TM_ENOMEM, "not enough memory");
  int status = prepare(path + strlen(PREFIX), text, f, e);
  if (status) {
    tm__free(ks->mem, f);
    return status;
  }
  f->mappable = write_signature(&f->decl, signature, sizeof signature);
  tm_kernel entry = {.name = text,
                     .run = run_over,
                     .kind = TM_KIND_RANGE,
                     .signature = f->mappable ? signature : ""};
  return tm__kernels_define(ks, path, &entry, f, out, e);
}

/* new_cfunction(library, declaration) -> C function; "" is the program
   itself */
static int new_cfunction(lua_State *L) {
  tm_error e;
  tm__kernels *ks = &tm__state_get(L)->rt->kernels;
  const char *text = luaL_checkstring(L, 2);
  const char *path = lua_pushfstring(L, PREFIX "%s", luaL_checkstring(L, 1));
  tm__kernel *k = tm__kernels_find(ks, path, text);
  if (!k && define(ks, path, text, &k, &e)) return tm__raise(L, &e);
  tm__kernel **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = k;
  tm__module_metatable(L, cfunction_type);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

static int cfunction_send(lua_State *L) {
  const tm__kernel *k = check(L, 1);
  lua_pushcfunction(L, new_cfunction);
  lua_getiuservalue(L, 1, 1);
  lua_pushstring(L, k->name);
  return 3;
}

static int cfunction_tostring(lua_State *L) {
  lua_pushfstring(L, "tidemill.cfunction '%s'", check(L, 1)->name);
  return 1;
}

static int cfunction_eq(lua_State *L) {
  tm__kernel *const *a = luaL_testudata(L, 1, cfunction_type);
  tm__kernel *const *b = luaL_testudata(L, 2, cfunction_type);
  lua_pushboolean(L, a && b && *a == *b);
  return 1;
}

tm__kernel *tm__cfunction_kernel(lua_State *L, int index) {
  tm__kernel *const *box = luaL_testudata(L, index, cfunction_type);
  if (!box) return NULL;
  const cfunction *f = (*box)->user;
  if (!f->mappable)
    luaL_error(L,
               "\"%s\" cannot be run over arrays: it takes or gives what "
               "is no element of one",
               (*box)->name);
  return *box;
}

void tm__cfunction_enable(tm_runtime *rt) {
  tm__kernels_set_define(&rt->kernels, define);
}

void tm__cfunction_register(lua_State *L) {
  static const luaL_Reg meta[] = {{"__call", cfunction_call},
                                  {"__eq", cfunction_eq},
                                  {"__tostring", cfunction_tostring},
                                  {"__tidemill_send", cfunction_send},
                                  {NULL, NULL}};
  luaL_newmetatable(L, cfunction_type);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  lua_pushcfunction(L, new_cfunction);
  lua_setfield(L, -2, "new_cfunction");
}

#else

tm__kernel *tm__cfunction_kernel(lua_State *L, int index) {
  (void)luaL_testudata(L, index, cfunction_type);
  return NULL;
}

static int new_cfunction(lua_State *L) {
  return luaL_error(L, "this tidemill was built without libffi (on Debian: "
                       "apt-get install libffi-dev, then make)");
}

void tm__cfunction_enable(tm_runtime *rt) { (void)rt; }

void tm__cfunction_register(lua_State *L) {
  lua_pushcfunction(L, new_cfunction);
  lua_setfield(L, -2, "new_cfunction");
}

#endif
