/*
 * lsubmit.h: from Lua arguments to a job
 */
#ifndef TM_BIND_LSUBMIT_H
#define TM_BIND_LSUBMIT_H

#include <lua.h>

/* Adds submit and feed to the table at the top of the stack. */
void tm__submit_register(lua_State *L);

#endif
