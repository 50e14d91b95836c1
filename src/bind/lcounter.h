/*
 * lcounter.h: counters in Lua
 */
#ifndef TM_BIND_LCOUNTER_H
#define TM_BIND_LCOUNTER_H

#include "bind/bind.h"

/* Adds new_counter to the table at the top of the stack. */
void tm__counter_register(lua_State *L);

#endif
