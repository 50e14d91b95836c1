/*
 * lcfunction.h: plain C functions in Lua, through libffi
 *
 * A C function is called with numbers, strings and arrays; one of numbers can
 * also be run over arrays as a kernel: pool:run(cos, n, out, x). Where the
 * library was built without libffi, making one is an error that says so.
 */
#ifndef TM_BIND_LCFUNCTION_H
#define TM_BIND_LCFUNCTION_H

#include <lua.h>

#include "run/kernel.h"

/* The kernel that a C function at index is; NULL when there is none at
   index. Raises for one that cannot be run over arrays. */
tm__kernel *tm__cfunction_kernel(lua_State *L, int index);

/* Adds the functions to the table at the top of the stack. */
void tm__cfunction_register(lua_State *L);

/* Lets kernels that are plain C functions come from other processes. */
void tm__cfunction_enable(tm_runtime *rt);

#endif
