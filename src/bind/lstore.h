/*
 * lstore.h: the global store in Lua
 */
#ifndef TM_BIND_LSTORE_H
#define TM_BIND_LSTORE_H

#include "bind/bind.h"

/* Adds the functions to the table at the top of the stack. */
void tm__store_register(lua_State *L);

#endif
