/*
 * lcompile.h: what tm.compile needs of the system (lua/tidemill/kernel.lua)
 */
#ifndef TM_BIND_LCOMPILE_H
#define TM_BIND_LCOMPILE_H

#include <lua.h>

/* Adds the functions to the table at the top of the stack. */
void tm__compile_register(lua_State *L);

#endif
