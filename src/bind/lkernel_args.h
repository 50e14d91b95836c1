/*
 * lkernel_args.h: what a run of a kernel is given in Lua, and what it gives
 */
#ifndef TM_BIND_LKERNEL_ARGS_H
#define TM_BIND_LKERNEL_ARGS_H

#include "bind/bind.h"
#include "run/batch.h"

/* The arguments of a run, checked; on the C stack of who runs it. */
typedef struct tm__kernel_run {
  tm__kernel *kernel;
  int64_t first, last, chunk;
  uint64_t timeout; /* ns; 0: none */
  uint32_t retries; /* of a unit whose process died */
  tm_arg args[TM__PARAM_LIMIT];
} tm__kernel_run;

/* Stack from `index`: kernel, range, arguments. Raises what is wrong. */
void tm__kernel_read(lua_State *L, int index, const char *method,
                     tm__kernel_run *r);

/* Pushes the elements of a reduction, if there is one (from is not NULL);
   answers how many values. */
int tm__kernel_push_result(lua_State *L, const tm__kernel *k, const void *from);

/* Pushes the error of a run that failed or was stopped. */
void tm__kernel_push_error(lua_State *L, const tm__kernel *k,
                           const tm__outcome *o);

#endif
