/*
 * array.h: the host's handles on arrays
 *
 * A tm_array is a view (store/array.h) with what it needs to live: a count on
 * the entry of the memory, a reference to the runtime, and to the mapping when
 * it is a file. It is counted, and does not change.
 */
#ifndef TM_HOST_ARRAY_H
#define TM_HOST_ARRAY_H

#include "host/host.h"
#include "run/signature.h"
#include "store/array.h"

struct tm_array {
  _Atomic uint32_t refs;
  tm_runtime *rt;
  tm__array array;
  tm__map *map; /* of a mapped file; else NULL */
};

/* A handle on a view that somebody has, with counts of its own. NULL: no
   memory. */
tm_array *tm__hostarray_of(tm_runtime *rt, const tm__array *view, tm__map *map);

/* The view as an argument of a kernel. */
void tm__hostarray_value(const tm__array *a, tm__value *out);

#endif
