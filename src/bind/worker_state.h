/*
 * worker_state.h: the Lua state of a worker thread
 */
#ifndef TM_BIND_WORKER_STATE_H
#define TM_BIND_WORKER_STATE_H

#include "bind/bind.h"

/* Makes a state with all standard libraries and tidemill at hand, with
   package.path and cpath as given; NULL when there is no memory. In it
   os.exit is an error, print writes whole lines, and children of a pinned
   worker get all CPUs. */
lua_State *tm__worker_state(tm__worker *w, const char *path, const char *cpath);

/* What a worker's state has in the place of standard functions, whoever made
   the state: os.exit is an error, coroutines can be interrupted. */
void tm__worker_libraries(lua_State *L);

/* Closes a state made by the above. */
void tm__worker_state_close(lua_State *L);

#endif
