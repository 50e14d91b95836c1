/*
 * unwind.h: making a running Lua function give up
 *
 * No hook is set while all is well. To unwind, a signal handler on the
 * worker's thread (or the start of an item, where signals are not allowed)
 * sets a hook on the coroutine that runs; the hook looks at the clock and at
 * the jobs itself and raises tm__unwind_mark. A task's pcall may swallow that:
 * after a moment of grace, left for __close handlers, the hook raises again
 * at each instruction, until the item is over.
 */
#ifndef TM_BIND_UNWIND_H
#define TM_BIND_UNWIND_H

#include "bind/bind.h"

/* Async-signal-safe: the state that runs items on this thread gets a hook. */
void tm__unwind_arm(void);

/* The state that runs items on this thread from now on; answers the one
   before. NULL: none. */
tm__state *tm__unwind_enter(tm__state *s);

/* Items are about to run on L. Where no signal can reach them a hook that
   counts must do: for a job with a time limit, where signals are not allowed;
   for every job, where they come late. */
void tm__unwind_begin(tm__state *s, lua_State *L, bool timed);

/* An item is over: the hook goes, when there is one. */
void tm__unwind_disarm(tm__state *s);

/* Raises the mark when the worker of this thread is to unwind. */
void tm__unwind_check(lua_State *L);

/* Replaces coroutine.resume, wrap and close in a worker's state, so that
   hooks reach the coroutine that runs. */
void tm__unwind_coroutines(lua_State *L);

#endif
