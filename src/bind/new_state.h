/*
 * new_state.h: Lua states of our own making
 */
#ifndef TM_BIND_NEW_STATE_H
#define TM_BIND_NEW_STATE_H

#include <lua.h>

#include "base/memory.h"

/* An empty Lua state, as of lua_newstate, whose small objects lie in slabs of
   its own. lua_close ends it, and gives all memory back; of mem it keeps a
   copy. NULL without memory. */
lua_State *tm__new_state(const tm__mem *mem);

#endif
