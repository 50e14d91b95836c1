/*
 * items.h: one run of a task, from item to record; for both kinds of state
 */
#ifndef TM_BIND_ITEMS_H
#define TM_BIND_ITEMS_H

#include "bind/pack.h"

/* Where the functions below find two values of the guest's own, on the stack
   that they are called with. */
enum { TM__ITEMS_A = 4, TM__ITEMS_B = 5 };

/* What differs between a worker's own state and the caller's. */
typedef struct tm__items_ops {
  /* Pushes the arguments of item i; answers how many. */
  int (*arguments)(lua_State *L, tm__piece *p, uint64_t i);
  /* Writes the n values at `first` and above as the record of item i. */
  void (*result)(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                 int first, int n);
  /* Writes the error, {value, traceback} at the top, as its record. */
  void (*failure)(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                  int kind);
} tm__items_ops;

/* Runs the items of a piece as tm__guest.run describes. On the stack: kwds or
   nil, the function, and the guest's two values; pops them. */
void tm__items_run(lua_State *L, tm__piece *p, tm__packer *packer,
                   const tm__items_ops *ops);

/* Lends the piece's buffer to a packer (whose own is empty), or takes it
   back; recover takes it back when an error left it there. */
void tm__items_lend(tm__piece *p, tm__packer *packer);
void tm__items_recover(tm__piece *p, tm__packer *packer);

/* The C function that calls tasks: tracebacks end above it. */
extern const lua_CFunction tm__items_runner;

/* Seeds math.random for item i (from 0) of a job with seed s. */
void tm__items_seed(lua_State *L, tm__state *s, int64_t seed, uint64_t i);

/* Replaces the tuple at the top of the stack by its elements, up to its n;
   answers how many. */
int tm__items_spread(lua_State *L);

/* Begins a record; ends it with a tag and a kind. */
size_t tm__items_begin(lua_State *L, tm__buf *out);
void tm__items_end(tm__buf *out, size_t at, int tag, int kind);

#endif
