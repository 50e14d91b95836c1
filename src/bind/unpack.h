/*
 * unpack.h: bytes (format.h) to Lua values
 */
#ifndef TM_BIND_UNPACK_H
#define TM_BIND_UNPACK_H

#include "bind/bind.h"

/* What becomes of the globals that come with a message. */
enum tm__unpack_mode {
  TM__UNPACK_PLAIN, /* nothing */
  TM__UNPACK_JOB,   /* set where they changed; noted in a context */
  TM__UNPACK_STORE  /* set where the state has none of that name */
};

/*
 * Reads one message at *at, which ends before end, and pushes its values;
 * answers how many. *at moves behind it. Raises for bytes that are not a
 * message, for modules that are not found, and for what user code raises
 * that takes part (what __tidemill_send named).
 *
 * For TM__UNPACK_JOB a table is at stack index context; globals are noted
 * there as name, hash, value from 1 on (3 times their number at 0, and where
 * under the name), and classes are kept alive by it.
 */
int tm__unpack(lua_State *L, const unsigned char **at, const unsigned char *end,
               int mode, int context);

/* Sets the globals noted in the context at the top of the stack again where
   another job has set them differently meanwhile. */
void tm__unpack_globals(lua_State *L, int context);

/* Takes from the globals those noted there that are memory of the host's, who
   waits for it: a job that names them brings them again. */
void tm__unpack_forget(lua_State *L, int context);

#endif
