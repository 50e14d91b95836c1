/*
 * larray.h: arrays in Lua
 *
 * An array in Lua is a handle on the entry that owns the memory, and the
 * description of what it shows of it (store/array.h). Views and rows are
 * handles of their own, each with a count, so that any of them keeps the
 * memory. They travel as the key and the description.
 *
 * larray.c: what an array is, and its elements. larray_new.c: making them,
 * and memory. larray_ops.c: methods. larray_file.c: files.
 */
#ifndef TM_BIND_LARRAY_H
#define TM_BIND_LARRAY_H

#include "bind/handle.h"
#include "store/array.h"

typedef struct tm__arraybox {
  tm__handle handle; /* first: see handle.c */
  tm__array array;
  tm__map *map; /* a reference, of a mapped array; else NULL */
  size_t held;  /* bytes counted in tm__state.arrays: 0 for views */
} tm__arraybox;

/* The array at index, NULL when it is none; the same, or an error. */
tm__arraybox *tm__array_to(lua_State *L, int index);
tm__arraybox *tm__array_check(lua_State *L, int index);

/* The same for an array that may be written to. */
tm__arraybox *tm__array_writable(lua_State *L, int index);

/*
 * Pushes a new array of zeros, or raises: sizes that no machine has, that
 * this one does not have, or that are not to be had now.
 */
tm__arraybox *tm__array_push(lua_State *L, int dtype, int rank,
                             const uint64_t *shape);

/* Pushes an array without memory yet, and a view of another's: the caller
   sets `array`, all but key and mapped. */
tm__arraybox *tm__array_push_empty(lua_State *L);
tm__arraybox *tm__array_push_view(lua_State *L, const tm__arraybox *of);

/* The extents at index: a whole number, or a table of them; how many. Raises
   an argument error. */
int tm__array_read_shape(lua_State *L, int index, uint64_t *shape);

/* An array came into this state that keeps so many bytes alive: the
   collector, which sees a small userdata, is driven on. */
void tm__array_hold(lua_State *L, tm__arraybox *box, size_t bytes);

/* Lets the collector run when this state holds much: when a job ends. */
void tm__array_rest(lua_State *L);

/* The state holds memory whose owner waits to hear that it is free; and a
   step of the collector towards that: whether more are needed. Raises what a
   collection raises. */
void tm__array_await(lua_State *L);
bool tm__array_step(lua_State *L);

/* Pushes a[i + 1]: a number, two of a c128, or a row; how many values. */
int tm__array_push_item(lua_State *L, const tm__arraybox *box, uint64_t i);

/* Writes the number at index as element i (counted over all elements);
   raises when it does not fit. */
void tm__array_store(lua_State *L, int index, const tm__array *a, uint64_t i);

/* Writes the first of n values at `first` as the result of item i. */
void tm__array_result(lua_State *L, const tm__arraybox *out, int first, int n,
                      uint64_t i);

/* A number on the stack, and back (one value, or two of a c128). */
void tm__element_read(lua_State *L, int index, tm__element *out);
int tm__element_push(lua_State *L, const tm__array *a, const tm__element *x);

/* The re, im at index and above for c128, or one number. */
void tm__element_args(lua_State *L, const tm__array *a, int index,
                      tm__element *out);

/* Pushes "f64[3x4]". */
const char *tm__array_push_type(lua_State *L, const tm__array *a);

/* For pack and unpack: the description as bytes on the stack; and back. */
const char *tm__array_describe(lua_State *L, int index, size_t *n);
void tm__array_receive(lua_State *L, uint64_t key, const unsigned char *bytes,
                       size_t n);

/* Makes the metatable, and adds new_array and so on to the table at the top
   of the stack. */
void tm__array_register(lua_State *L);

/* Methods: a:save(path), tostring(a). */
int tm__array_save(lua_State *L);
int tm__array_tostring(lua_State *L);

/* Its parts: functions into the table at the top. */
void tm__array_register_new(lua_State *L);
void tm__array_register_methods(lua_State *L);
void tm__array_register_file(lua_State *L);

#endif
