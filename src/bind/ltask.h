/*
 * ltask.h: declared tasks
 *
 * A task is a handle on an entry of the store that holds its code: run,
 * setup, the names of the globals they use, and its options. The code is
 * encoded when the task first leaves its state, and decoded once by each
 * worker that meets it.
 */
#ifndef TM_BIND_LTASK_H
#define TM_BIND_LTASK_H

#include "bind/handle.h"

/* Where there is a task at index, puts its function there instead, ready to
   be called: setup has run in this state. Other values stay. Raises what setup
   raises. */
void tm__task_function(lua_State *L, int index);

/* Sees that the code of the task at index can be read elsewhere, and that
   the globals it names travel with the message that p packs. */
void tm__task_share(tm__packer *p, int index);

/* Adds the constructor to the table at the top of the stack. */
void tm__task_register(lua_State *L);

#endif
