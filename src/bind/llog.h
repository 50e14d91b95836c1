/*
 * llog.h: the log in Lua
 */
#ifndef TM_BIND_LLOG_H
#define TM_BIND_LLOG_H

#include <lua.h>

/* Adds log, log_level, log_open and log_indent to the table at the top of
   the stack. */
void tm__log_register(lua_State *L);

#endif
