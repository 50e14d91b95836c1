/*
 * larray_file.c: the raw side of files; npy.lua reads and writes headers
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bind/larray.h"

/* In Lua, which a worker may not have loaded yet. */
int tm__array_save(lua_State *L) {
  tm__array_check(L, 1);
  luaL_checkstring(L, 2);
  lua_settop(L, 2);
  tm__checkstack(L, 6);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.npy");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "save");
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_call(L, 2, 0);
  lua_settop(L, 1);
  return 1;
}

/* array_write(a, path, header) */
static int array_write(lua_State *L) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  const char *path = luaL_checkstring(L, 2);
  size_t n;
  tm_error e;
  const char *header = luaL_checklstring(L, 3, &n);
  if (tm__file_write(path, header, n, a->data, tm__array_bytes(a), &e))
    return tm__raise(L, &e);
  return 0;
}

/* Memory of one size, gone when the collector or an error says so. */
static void *push_bytes(lua_State *L, size_t n) {
  uint64_t shape[1] = {n};
  return tm__array_push(L, TM__U8, 1, shape)->array.data;
}

/* array_read(a, path, offset, fortran): all elements of a, from a file in
   which they may lie in the other order */
static int array_read(lua_State *L) {
  const tm__array *a = &tm__array_check(L, 1)->array;
  const char *path = luaL_checkstring(L, 2);
  uint64_t offset = (uint64_t)luaL_checkinteger(L, 3);
  bool fortran = lua_toboolean(L, 4) && a->rank > 1;
  size_t n = tm__array_bytes(a);
  tm_error e;
  unsigned char *to = fortran ? push_bytes(L, n) : a->data;
  if (tm__file_read(path, offset, to, n, &e)) return tm__raise(L, &e);
  if (fortran) tm__array_transpose(a, to);
  return 0;
}

/* The entry that says which file it is. */
static void add_entry(lua_State *L, tm__arraybox *box, const char *path) {
  tm__state *s = tm__state_get(L);
  tm_error e;
  size_t n = strlen(path) + 1;
  size_t size = offsetof(tm__mapped, path) + n;
  tm__mapped *m = lua_newuserdatauv(L, size, 0);
  m->id = box->map->id;
  memcpy(m->path, path, n);
  if (tm__store_add(s->rt->store, TM__BUFFER, s->uid, m, size, &box->handle.key,
                    &e))
    tm__raise(L, &e);
  lua_pop(L, 1);
}

/* array_map(path, dtype, shape, offset) -> array: path is absolute */
static int array_map(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int dtype = tm__dtype_of(luaL_checkstring(L, 2));
  uint64_t shape[TM__RANK_MAX];
  int rank = tm__array_read_shape(L, 3, shape);
  uint64_t offset = (uint64_t)luaL_checkinteger(L, 4);
  tm_error e;
  tm__arraybox *box = tm__array_push_empty(L);
  tm__array *a = &box->array;
  if (dtype < 0 || !tm__array_shape(a, dtype, rank, shape))
    return luaL_error(L, "%s: an array that no file holds", path);
  if (tm__maps_open(&box->handle.rt->maps, path, NULL, &box->map, &e))
    return tm__raise(L, &e);
  size_t n = tm__array_bytes(a), size = box->map->size;
  if (offset > size || n > size - offset)
    return luaL_error(L,
                      "%s is cut short: %I bytes of data expected, %I "
                      "there",
                      path, (lua_Integer)n,
                      (lua_Integer)(offset < size ? size - offset : 0));
  if (offset % (n && tm__dtype_size(dtype) < 8 ? tm__dtype_size(dtype) : 8))
    return luaL_error(L,
                      "%s cannot be mapped: its data is not aligned; load "
                      "it without mmap",
                      path);
  add_entry(L, box, path);
  a->key = box->handle.key;
  a->offset = offset;
  a->data = (unsigned char *)(uintptr_t)box->map->base + offset;
  a->readonly = a->mapped = true;
  return 1;
}

/* absolute(path) -> the file's full name, or the path as it is */
static int absolute(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char *full = realpath(path, NULL);
  lua_pushstring(L, full ? full : path);
  free(full);
  return 1;
}

void tm__array_register_file(lua_State *L) {
  static const luaL_Reg functions[] = {{"array_write", array_write},
                                       {"array_read", array_read},
                                       {"array_map", array_map},
                                       {"absolute", absolute},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
