/*
 * ljob.h: jobs in Lua: submitting, waiting, and reading the results
 */
#ifndef TM_BIND_LJOB_H
#define TM_BIND_LJOB_H

#include "bind/bind.h"

/* A job in Lua, and how far its results were taken. Its user values: the
   pool, the function, what was taken of a stream (one byte a place), and the
   classes that were sent: they come back by their identity alone. */
typedef struct tm__jobbox {
  tm__job *job;            /* a reference */
  int32_t pid;             /* of the process that made it */
  uint64_t oldest;         /* items below were taken (streams) */
  tm__msg *message;        /* being taken; a reference */
  const unsigned char *at; /* in it */
  uint64_t item;           /* the next in it */
  unsigned char *taken;    /* of a stream: one byte a place of the window */
} tm__jobbox;

tm__jobbox *tm__job_check(lua_State *L, int index);

/* Pushes a box for a job, whose reference is taken over. */
tm__jobbox *tm__job_push(lua_State *L);

/* Waits, at most so long (ns), unless the script is interrupted: then the
   job is cancelled, and so it is when the item that waits is to unwind, which
   raises. Answers whether it is done. */
bool tm__job_wait(lua_State *L, tm__job *job, uint64_t timeout);

/* Runs a job of a fake pool on this very thread, for `time` ns: some items
   more, as it is looked at between them. */
void tm__job_run_inline(lua_State *L, tm__job *job, uint64_t time);

/* Adds the functions to the table at the top of the stack. */
void tm__job_register(lua_State *L);

#endif
