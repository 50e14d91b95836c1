/*
 * script.h: scripts of the host, in Lua states that the library makes
 *
 * A script is a Lua state with what the last run has left: its results, or the
 * text of its error. All of it is used by one thread at a time (`busy`), but
 * `stop`, which any thread may raise.
 *
 * Values that C has of the state are kept alive for it: strings by a table in
 * the registry (at the address of the list), arrays by the handles in them.
 */
#ifndef TM_BIND_SCRIPT_H
#define TM_BIND_SCRIPT_H

#include "bind/value.h"

typedef struct tm__kept {
  tm_value *list;
  int count;
} tm__kept;

struct tm_script {
  tm_runtime *rt; /* a reference: its allocator is the state's */
  lua_State *L;
  _Atomic bool busy;
  _Atomic int stop;
  uint64_t stopped_at; /* tm__now() of the first time in this run; 0: never */
  unsigned flags;
  tm__kept results, got;
  char *error; /* of the last run, in full; NULL: none, or no memory for it */
  size_t error_len;
};

/* What is done in protected mode: a function of the request that it finds as
   a light userdata at index 1. */
typedef struct tm__request {
  tm_script *script;
  const char *function; /* of the API, for messages */
  const char *name;     /* of a file, a chunk or a global */
  const char *code;
  const tm_value *args; /* nargs, checked before anything is done */
  int nargs;
  tm_value *out;
  const void *closure; /* of set_function */
  bool forgets;        /* the results of the run before */
  bool runs;           /* code of the script's, for which it may be stopped */
  int status;          /* what failed without a Lua error */
  tm_error *error;     /* of the caller */
} tm__request;

/* Does a request with the script to itself: the status and the text. What fails
   becomes the script's error. */
int tm__script_do(lua_CFunction act, tm__request *r, tm_error *e);

/* Keeps the n values at the top for C, and pops them; raises. */
void tm__script_keep(lua_State *L, tm__kept *k, const tm_script *s, int n);
void tm__script_forget(tm__kept *k, const tm_script *s);

/* TM_EINVAL when the request's name is no path of fields. */
int tm__script_check_path(const tm__request *r, tm_error *e);

/* Pushes what a path of fields names, nil when the last is not there. Raises
   when one on the way is missing. */
void tm__script_push_path(lua_State *L, const char *path);

#endif
