/*
 * lpool.h: pools in Lua, as thin as can be; lua/tidemill/pool.lua is the rest
 */
#ifndef TM_BIND_LPOOL_H
#define TM_BIND_LPOOL_H

#include "bind/bind.h"

/* A pool in Lua. A pool of the script's own is terminated and joined when
   it is collected; a shared one is the runtime's. */
typedef struct tm__poolbox {
  tm__pool *pool; /* a reference; NULL once collected */
  bool shared;
  int32_t pid;     /* of the process that made it */
  tm__owned owned; /* of a pool of the script's own: it ends with the runtime */
} tm__poolbox;

tm__poolbox *tm__pool_check(lua_State *L, int index);

/* Adds the functions to the table at the top of the stack. */
void tm__pool_register(lua_State *L);

/* Whether the hook of an interrupt from the keyboard is set. */
static inline bool tm__hooked(lua_State *L) {
  int all = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  return (lua_gethookmask(L) & all) == all;
}

/* Whether the script was interrupted from the keyboard meanwhile. */
bool tm__interrupted(lua_State *L);

/* The same where the state's record is at hand: about 2 ns. */
static inline bool tm__interrupted_in(lua_State *L, const tm__state *s) {
  if (s->worker) return false;
  if (atomic_load(&s->rt->interrupted)) return true;
  return (s->stop && atomic_load(s->stop)) || tm__hooked(L);
}

/* The interrupt becomes an error of ours: the hook and the flag go. */
void tm__interrupt_seen(lua_State *L);

#endif
