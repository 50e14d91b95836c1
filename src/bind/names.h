/*
 * names.h: values that travel by name
 *
 * Modules and what they export are never copied: a worker requires the
 * module itself. A value has a name when it is
 *   - a module, that `require` would find in a fresh state;
 *   - a function that such a module exports, when it is a C function or was
 *     written in a file of a loaded module (what a script adds to a module
 *     is the script's own and travels by value);
 *   - a table that such a module exports and that is code: it, or else its
 *     metatable, holds functions of the module (plain data travels by
 *     value, and so does a class that the script put there);
 *   - a userdata that it exports (io.stdout), also a light one.
 * Of the table of globals only the basic functions, and C functions that the
 * host has put there, have names: the rest is the script's.
 */
#ifndef TM_BIND_NAMES_H
#define TM_BIND_NAMES_H

#include "bind/bind.h"

/* Reads package.loaded anew when modules were added or loaded again. */
void tm__names_refresh(lua_State *L);

/* Whether an object may have a name: one bit of a filter. */
static inline unsigned tm__name_bit(const void *object) {
  return (unsigned)((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u >> 52);
}

static inline bool tm__name_likely(const tm__state *s, const void *object) {
  unsigned bit = tm__name_bit(object);
  return s->named[bit / 64] >> bit % 64 & 1;
}

/* Notes what the state has in modules and in global C functions as the host's:
   its workers have the same (tm_config.on_state), so that it travels by name
   though nothing could be required. */
void tm__names_host(lua_State *L);

/* Whether the host has a module, or with `global` a function, of this name. */
bool tm__names_of_host(lua_State *L, const char *name, bool global);

/* Pushes the name of the value at index, "module" or "module\0field", and
   answers true; or pushes nothing. */
bool tm__name_find(tm__state *s, lua_State *L, int index);

/* The same for a C function of a standard library that is not to be found
   under its name any more: a script put a function of its own there. */
bool tm__name_find_replaced(lua_State *L, int index);

/* To be called before the global whose name is at an index is set: when that
   is a basic function, the state's own one keeps its name. */
void tm__name_keep(lua_State *L, int index);

/* Pushes the value of a name, requiring its module; raises when there is
   none. */
void tm__name_push(lua_State *L, const char *name, size_t len);

/* Whether a module of this name is in every Lua state. */
bool tm__name_standard(const char *module);

#endif
