/*
 * worker_state.h: the Lua state of a worker thread
 */
#ifndef TM_BIND_WORKER_STATE_H
#define TM_BIND_WORKER_STATE_H

#include "bind/bind.h"

/* What the host adds to a state of the library's making; raises. */
void tm__host_state(const tm_runtime *rt, lua_State *L);

/* Makes a state with all standard libraries and tidemill at hand, with
   package.path and cpath as given; NULL when that failed: e says why. In it
   os.exit is an error, print writes whole lines, and children of a pinned
   worker get all CPUs. lua_close ends it. */
lua_State *tm__worker_state(tm__worker *w, const char *path, const char *cpath,
                            tm_error *e);

/* What a worker's state has in the place of standard functions, whoever made
   the state: os.exit is an error, coroutines can be interrupted. */
void tm__worker_libraries(lua_State *L);

#endif
