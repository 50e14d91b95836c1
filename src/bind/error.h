/*
 * error.h: the one error object that comes out of a pool, and the one gate
 *
 * A table with fields kind ("task", "worker_died", "timeout", "cancelled",
 * "interrupted", "send"), value (what the task raised), message, traceback
 * (the worker's), task, item, and results where a map was given up.
 */
#ifndef TM_BIND_ERROR_H
#define TM_BIND_ERROR_H

#include "bind/bind.h"

/* Pushes the metatable of error objects. */
void tm__error_push_meta(lua_State *L);
bool tm__error_is_meta(lua_State *L, int index);
bool tm__error_is(lua_State *L, int index);

/* Pushes a new error object with a kind and a message; value is the message
   too. */
void tm__error_push(lua_State *L, int kind, const char *message);

/* Raises one. The message gets no position. Never returns. */
int tm__error_throw(lua_State *L, int kind, const char *message);

/* A message handler for lua_pcall: makes {value, traceback} of what was
   raised; lets the mark that unwinds an item pass. */
int tm__error_handler(lua_State *L);

/* Pushes the text of the value at index as an error message. */
void tm__error_text(lua_State *L, int index);

#endif
