/*
 * module.h: how tidemill gets into a Lua state
 */
#ifndef TM_BIND_MODULE_H
#define TM_BIND_MODULE_H

#include "bind/bind.h"

/* Opens the record of a state and puts the loaders of tidemill's modules in
   package.preload. Raises. w is NULL in a script's state. */
void tm__module_preload(lua_State *L, tm_runtime *rt, tm__worker *w);

/* Sees to it that the module's C part is open: a worker's state opens it when
   the first thing of ours comes, since most tasks need none. */
void tm__module_core(lua_State *L);

/* Pushes one of its metatables. */
void tm__module_metatable(lua_State *L, const char *name);

#endif
