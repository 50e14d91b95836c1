/*
 * bind.h: what the binding keeps for each Lua state
 *
 * The only code that knows lua.h. Every Lua state that tidemill is opened in,
 * the script's and each worker's, has one tm__state, found through its
 * registry. It is used on the thread that runs the Lua state, and by nobody
 * else, except `running`, which a signal handler on that thread reads.
 */
#ifndef TM_BIND_BIND_H
#define TM_BIND_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "run/inbox.h"
#include "run/runtime.h"

/* Tables of a state, kept in its registry; see tm__state_table. */
enum tm__table {
  TM__T_IDS,     /* class -> identity; weak keys */
  TM__T_CLASSES, /* identity -> class; weak values */
  TM__T_NAMES,   /* exported value -> its name; weak keys */
  TM__T_CODE,    /* function -> what pack knows of it; weak keys */
  TM__T_OBJECTS, /* key -> {object, version} of the store */
  TM__T_GLOBALS, /* name -> hash of the value that a job set last */
  TM__T_FILLED,  /* identity -> hash of the content that was filled in */
  TM__T_TASKS,   /* key of a declared task -> its function in this state */
  TM__T_SENT,    /* names of globals that ever left with a value */
  TM__T_COUNT
};

typedef struct tm__state {
  tm_runtime *rt; /* a reference */
  uint64_t uid;
  tm__worker *worker; /* NULL in a script's state */
  tm__inbox *inbox;   /* NULL: none yet */
  _Atomic int *stop;  /* of a host's script: raised to end it; or NULL */
  lua_State *main;
  lua_State *volatile running; /* the coroutine that runs, for interrupts */
  uint64_t classes;            /* identities given so far */
  int64_t modules;             /* in package.loaded when names were read */
  uint64_t named[64];          /* a Bloom filter of what has a name */
  uint64_t context;            /* the job whose globals are set */
  int indent;                  /* of sublog */
  uint64_t raised_at;          /* when the running item was first unwound */
  lua_Hook old_hook;           /* what we replaced to unwind */
  int old_mask, old_count;
  size_t inherited;  /* bytes of Lua memory at the fork of a worker */
  size_t arrays;     /* bytes of arrays that this state holds */
  size_t array_debt; /* of those that came, not yet told to the collector */
  size_t array_news; /* of those that came since the last full collection */
  int wrapped;       /* arrays of the host's memory, but for views */
  int cycles_due, steps_due;  /* of the collector, before a worker sleeps */
  struct tm__handle *handles; /* all of this state */
  bool sees_arrays;           /* tm__array_part is right here */
  void *random; /* the state of math.random, or NULL where it is not known */
} tm__state;

/* The state's record; raises when tidemill is not open in L. */
tm__state *tm__state_get(lua_State *L);

/* The same, NULL when it is not open. */
tm__state *tm__state_find(lua_State *L);

/* Makes the record of a fresh state. The record goes with the Lua state. */
tm__state *tm__state_open(lua_State *L, tm_runtime *rt, tm__worker *w);

/* Where the state hears of jobs that ended; made when it is first asked for.
   Without memory it raises, or answers NULL. */
tm__inbox *tm__state_inbox(lua_State *L);
tm__inbox *tm__state_inbox_of(tm__state *s);

/* Pushes one of the state's tables. */
void tm__state_table(lua_State *L, int which);

/* Raises a status of the core; never returns. */
int tm__raise(lua_State *L, const tm_error *e);

/* A light userdata that unwinds a cancelled item; see guest.c. */
extern char tm__unwind_mark;

#define tm__checkstack(L, n) luaL_checkstack((L), (n), "too many values")

#endif
