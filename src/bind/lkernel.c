#include "bind/lkernel.h"

#include <string.h>

#include "bind/lcfunction.h"
#include "bind/module.h"

static const char kernel_type[] = "tidemill.kernel";

typedef struct box {
  tm__kernel *kernel;
  tm_runtime *rt; /* a reference; NULL once collected */
} box;

static box *check_kernel(lua_State *L, int index) {
  return luaL_checkudata(L, index, kernel_type);
}

static void push_kernel(lua_State *L, tm__kernel *k) {
  tm__state *s = tm__state_get(L);
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (box){.kernel = k};
  tm__module_metatable(L, kernel_type);
  lua_setmetatable(L, -2);
  b->rt = tm__runtime_ref(s->rt);
}

tm__kernel *tm__kernel_to(lua_State *L, int index) {
  box *b = luaL_testudata(L, index, kernel_type);
  return b ? b->kernel : tm__cfunction_kernel(L, index);
}

static int kernel_gc(lua_State *L) {
  box *b = lua_touserdata(L, 1);
  if (b->rt) tm__runtime_unref(b->rt);
  b->rt = NULL;
  return 0;
}

/* open_kernels(path) -> {name = kernel, ...} */
static int open_kernels(lua_State *L) {
  tm_error e;
  tm__kernels *ks = &tm__state_get(L)->rt->kernels;
  const tm__library *library;
  tm__kernel *k = NULL;
  if (tm__kernels_open(ks, luaL_checkstring(L, 1), &library, &e))
    return tm__raise(L, &e);
  lua_newtable(L);
  while ((k = tm__kernels_next(ks, library, k)) != NULL) {
    push_kernel(L, k);
    lua_setfield(L, -2, k->name);
  }
  return 1;
}

/* find_kernel(name) -> the host's kernel of that name, or nil */
static int find_kernel(lua_State *L) {
  tm__kernels *ks = &tm__state_get(L)->rt->kernels;
  tm__kernel *k = tm__kernels_find(ks, NULL, luaL_checkstring(L, 1));
  if (!k) return 0;
  push_kernel(L, k);
  return 1;
}

/* receive_kernel(path, name) -> kernel: what kernels travel by */
static int receive_kernel(lua_State *L) {
  tm_error e;
  tm__kernel *k;
  tm__kernel_name n = {.path = luaL_checkstring(L, 1),
                       .name = luaL_checkstring(L, 2)};
  if (tm__kernels_resolve(&tm__state_get(L)->rt->kernels, &n, &k, &e))
    return tm__raise(L, &e);
  push_kernel(L, k);
  return 1;
}

static int kernel_send(lua_State *L) {
  box *b = check_kernel(L, 1);
  lua_pushcfunction(L, receive_kernel);
  lua_pushstring(L, tm__kernel_path(b->kernel));
  lua_pushstring(L, b->kernel->name);
  return 3;
}

static int kernel_tostring(lua_State *L) {
  const tm__kernel *k = check_kernel(L, 1)->kernel;
  lua_pushfstring(L, "tidemill.kernel '%s' (%s)", k->name, k->signature.text);
  return 1;
}

static int kernel_eq(lua_State *L) {
  const box *a = luaL_testudata(L, 1, kernel_type);
  const box *b = luaL_testudata(L, 2, kernel_type);
  lua_pushboolean(L, a && b && a->kernel == b->kernel);
  return 1;
}

/* kernel.name, .signature, .kind, .library */
static int kernel_index(lua_State *L) {
  const tm__kernel *k = check_kernel(L, 1)->kernel;
  const char *name = luaL_checkstring(L, 2);
  if (strcmp(name, "name") == 0)
    lua_pushstring(L, k->name);
  else if (strcmp(name, "signature") == 0)
    lua_pushstring(L, k->signature.text);
  else if (strcmp(name, "kind") == 0)
    lua_pushstring(L, k->entry.kind == TM_KIND_ITEM ? "item" : "range");
  else if (strcmp(name, "library") == 0)
    lua_pushstring(L, tm__kernel_path(k));
  else
    lua_pushnil(L);
  return 1;
}

/* is_kernel(value) */
static int is_kernel(lua_State *L) {
  lua_pushboolean(L, luaL_testudata(L, 1, kernel_type) != NULL);
  return 1;
}

void tm__kernel_register(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", kernel_gc},
                                  {"__call", tm__kernel_call},
                                  {"__eq", kernel_eq},
                                  {"__index", kernel_index},
                                  {"__tostring", kernel_tostring},
                                  {"__tidemill_send", kernel_send},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open_kernels", open_kernels},
                                       {"find_kernel", find_kernel},
                                       {"receive_kernel", receive_kernel},
                                       {"is_kernel", is_kernel},
                                       {NULL, NULL}};
  luaL_newmetatable(L, kernel_type);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
  tm__kernel_register_run(L);
  tm__cfunction_register(L);
}
