/*
 * numbers.h: messages of one number, the commonest, in place
 *
 * A message of one value without sections (format.h) that is a number is
 * eleven bytes: no flags, one value, its tag, its word.
 */
#ifndef TM_BIND_NUMBERS_H
#define TM_BIND_NUMBERS_H

#include <lua.h>
#include <stdbool.h>

#include "bind/format.h"

enum { TM__NUMBER_SIZE = 11 };

/* Pushes the number of such a message, else answers false. */
static inline bool tm__number_push(lua_State *L, const unsigned char *at,
                                   const unsigned char *end) {
  if (end - at < TM__NUMBER_SIZE || at[0] != 0 || at[1] != 1) return false;
  if (at[2] == TAG_INT) {
    lua_pushinteger(L, (lua_Integer)tm__get64(at + 3));
    return true;
  }
  if (at[2] != TAG_FLOAT) return false;
  double x;
  memcpy(&x, at + 3, sizeof x);
  lua_pushnumber(L, x);
  return true;
}

/* Writes the number at a stack index. */
static inline void tm__number_write(lua_State *L, int index,
                                    unsigned char *at) {
  at[0] = 0;
  at[1] = 1;
  if (lua_isinteger(L, index)) {
    lua_Integer x = lua_tointeger(L, index);
    at[2] = TAG_INT;
    memcpy(at + 3, &x, 8);
  } else {
    lua_Number x = lua_tonumber(L, index);
    at[2] = TAG_FLOAT;
    memcpy(at + 3, &x, 8);
  }
}

#endif
