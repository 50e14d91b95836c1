/*
 * array_part.h: whether keys 1 to n of a table lie in its array part
 *
 * To copy a table means to visit all its keys, and lua_next is the only way;
 * but the elements of an array are read three times as fast by lua_rawgeti,
 * and lua_next can go on behind them: it visits the array part first. The API
 * does not tell how large that part is. So one word of Lua's own record of a
 * table is read (lobject.h, struct Table: `alimit`, at the same place in
 * every 5.4; never more than the true size), once it was found to be what we
 * take it for in this very Lua. Where it is not, all is done by lua_next.
 */
#ifndef TM_BIND_ARRAY_PART_H
#define TM_BIND_ARRAY_PART_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Behind `next`, and tt, marked, flags and lsizenode of a byte each. */
enum { TM__ALIMIT_AT = sizeof(void *) + 4 };

static inline uint32_t tm__array_part(const void *table) {
  uint32_t size;
  memcpy(&size, (const char *)table + TM__ALIMIT_AT, sizeof size);
  return size;
}

/* Whether tables made to some sizes have these where we look. */
static inline bool tm__array_part_known(lua_State *L) {
  static const int sizes[] = {1, 0, 7, 1000, 2, 64};
  bool same = true;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    lua_createtable(L, sizes[i], 3);
    same = same && tm__array_part(lua_topointer(L, -1)) == (uint32_t)sizes[i];
    lua_settop(L, -2);
  }
  return same;
}

#endif
