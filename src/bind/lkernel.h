/*
 * lkernel.h: kernels in Lua, and running them
 *
 * A kernel in Lua is a pointer to what the runtime keeps for good
 * (run/kernel.h). It travels as the path of its library and its name, by
 * __tidemill_send.
 *
 * lkernel.c: what a kernel is, and finding one. lkernel_args.c: arguments and
 * results. lkernel_run.c: running. pool:run does not go through
 * lua/tidemill/pool.lua: it is the C function itself, as are direct calls.
 */
#ifndef TM_BIND_LKERNEL_H
#define TM_BIND_LKERNEL_H

#include "bind/bind.h"
#include "run/call.h"

/* Pushes what a batch gave, in the shape that results(job) has: {result},
   {} or {}, {1, error}. */
int tm__kernel_results(lua_State *L, tm__job *job);

/* The kernel at index, NULL when it is none. */
tm__kernel *tm__kernel_to(lua_State *L, int index);

/* kernel(items, ...): in the caller alone. */
int tm__kernel_call(lua_State *L);

/* Adds the functions to the table at the top of the stack. */
void tm__kernel_register(lua_State *L);
void tm__kernel_register_run(lua_State *L);

#endif
