#include "bind/lcompile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "bind/bind.h"
#include "bind/embed.h"

/* kernel_header() -> the text of tidemill_kernel.h */
static int kernel_header(lua_State *L) {
  lua_pushstring(L, tm__embedded_header);
  return 1;
}

/* content_hash(bytes) -> 32 hex digits */
static int content_hash(lua_State *L) {
  size_t n;
  char text[40];
  const char *s = luaL_checklstring(L, 1, &n);
  uint64_t a = tm__hash(s, n), seed = a;
  lua_pushlstring(L, (const char *)&seed, sizeof seed);
  lua_pushvalue(L, 1);
  lua_concat(L, 2); /* a second hash, of the bytes behind the first */
  s = lua_tolstring(L, -1, &n);
  uint64_t b = tm__hash(s, n);
  snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)a,
           (unsigned long long)b);
  lua_pushstring(L, text);
  return 1;
}

/* file_token() -> digits that no other process or thread comes upon */
static int file_token(lua_State *L) {
  char text[40];
  snprintf(text, sizeof text, "%ld-%016llx", (long)getpid(),
           (unsigned long long)tm__entropy());
  lua_pushstring(L, text);
  return 1;
}

static int failed(lua_State *L, const char *path) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", path, strerror(errno));
  return 2;
}

/* make_folder(path) -> true, or nil and why: the folders above it too; all
   for the user alone */
static int make_folder(lua_State *L) {
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  char *copy = lua_newuserdatauv(L, n + 1, 0);
  memcpy(copy, path, n + 1);
  for (size_t i = 1; i <= n; i++) {
    if (copy[i] != '/' && copy[i] != '\0') continue;
    char end = copy[i];
    copy[i] = '\0';
    if (mkdir(copy, 0700) && errno != EEXIST) return failed(L, copy);
    copy[i] = end;
  }
  if (access(path, W_OK | X_OK)) return failed(L, path);
  lua_pushboolean(L, 1);
  return 1;
}

/* temporary_folder() -> its path, or nil and why */
static int temporary_folder(lua_State *L) {
  const char *root = getenv("TMPDIR");
  lua_pushfstring(L, "%s/tidemill-XXXXXX", root && *root ? root : "/tmp");
  const char *name = lua_tostring(L, -1);
  size_t n = strlen(name) + 1;
  char *path = lua_newuserdatauv(L, n, 0);
  memcpy(path, name, n);
  if (!mkdtemp(path)) return failed(L, name);
  lua_pushstring(L, path);
  return 1;
}

/* real_path(path) -> the absolute path of a file that is there, or nil */
static int real_path(lua_State *L) {
  char *path = realpath(luaL_checkstring(L, 1), NULL);
  if (!path) return 0;
  lua_pushstring(L, path);
  free(path);
  return 1;
}

void tm__compile_register(lua_State *L) {
  static const luaL_Reg functions[] = {{"kernel_header", kernel_header},
                                       {"content_hash", content_hash},
                                       {"file_token", file_token},
                                       {"make_folder", make_folder},
                                       {"temporary_folder", temporary_folder},
                                       {"real_path", real_path},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
