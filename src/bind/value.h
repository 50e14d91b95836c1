/*
 * value.h: simple values between the host and a Lua state
 */
#ifndef TM_BIND_VALUE_H
#define TM_BIND_VALUE_H

#include "bind/bind.h"
#include "host/array.h"

/* Whether a value makes sense in the states of a runtime: TM_EINVAL, of an
   array of another runtime for instance, or TM_ENOKEY. */
int tm__value_check(const tm_runtime *rt, const tm_value *v, tm_error *e);

/* Pushes a value; raises for one that makes no sense here. */
void tm__value_push(lua_State *L, tm_value v);

/* The value at an index. A string is Lua's own; an array is a new handle, the
   caller's. Raises when there is no memory. */
tm_value tm__value_get(lua_State *L, int index);

/* Raises "not enough memory" as Lua does. */
void tm__value_no_memory(lua_State *L);

/* TM_ENOMEM or TM_ELUA, of an error with a status and a text. */
int tm__value_code(int status, const char *text);

/* Gives back the handles among n values. */
void tm__values_release(tm_value *values, int n);

/* Pushes a new array in this state on a host's handle. */
void tm__array_push_host(lua_State *L, const tm_array *a);

#endif
