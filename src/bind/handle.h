/*
 * handle.h: userdata that stand for an entry of the store
 *
 * Keys, counters and tasks are one count on an entry each. They travel as
 * the key, and the message holds a count while it is in flight.
 */
#ifndef TM_BIND_HANDLE_H
#define TM_BIND_HANDLE_H

#include "bind/pack.h"

typedef struct tm__handle {
  tm__key key; /* 0 once it is given back */
  int kind;    /* enum tm__store_kind */
  tm_runtime *rt;
  struct tm__handle *next, **link; /* in tm__state.handles; link NULL: not */
} tm__handle;

/* The state ends: its handles, which end later, are in no list. */
void tm__handle_orphan(tm__state *s);

/* Pushes a new handle on an entry, taking the caller's count over also on
   failure. Its metatable is that of the kind, with nuv user values. */
tm__handle *tm__handle_push(lua_State *L, int kind, tm__key key, int nuv);

/* The same for a userdata of `size` bytes that begins with a tm__handle; the
   rest is zero. */
tm__handle *tm__handle_push_sized(lua_State *L, int kind, tm__key key, int nuv,
                                  size_t size);

/* Gives the count and the runtime back, once. */
void tm__handle_drop(tm__handle *h);

/* The handle at index when it is of this kind, else NULL. */
tm__handle *tm__handle_to(lua_State *L, int index, int kind);

/* The same; raises "<name> expected, got ..." otherwise. */
tm__handle *tm__handle_check(lua_State *L, int index, int kind);

/* Makes the metatable of a kind and pushes it: __gc, __eq, __name. */
void tm__handle_meta(lua_State *L, int kind, const char *name);

/* Takes out of one of the state's tables by key (TM__T_OBJECTS, TM__T_TASKS)
   what belongs to entries that are gone. Call it before adding to the table:
   a large one is looked through only when it has doubled. */
void tm__handle_sweep(lua_State *L, int which);

/* A value that names its own key: takes the counts on it out of k, for they
   would never be given back. */
void tm__handle_drop_own(tm__keys *k, const tm__handle *h);

/* Puts a table with weak values into the registry, under an address, unless
   it is there. */
void tm__handle_weak_table(lua_State *L, const void *address);

/* For pack and unpack. False when the userdata is no handle. */
bool tm__handle_pack(tm__packer *p, int index);
void tm__handle_unpack(lua_State *L, int kind, uint64_t key,
                       const unsigned char *extra, size_t n);

#endif
