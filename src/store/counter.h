/*
 * counter.h: one count across threads and processes
 *
 * A counter is the value of a store entry of kind TM__COUNTER: a struct
 * in the arena that every worker adds to with one atomic instruction. A user
 * pins the entry for as long as it has the counter, and casts pin.bytes.
 */
#ifndef TM_STORE_COUNTER_H
#define TM_STORE_COUNTER_H

#include "store/store.h"

typedef struct tm__counter {
  _Atomic int64_t value;
  int64_t every; /* > 0: a message is due at each multiple */
} tm__counter;

/* Adds inc (of either sign). Answers true when a multiple of `every` was met
   or passed on the way up; then *reached is the new value. Of all callers
   exactly one is told of each crossing. */
bool tm__counter_add(tm__counter *c, int64_t inc, int64_t *reached);

int64_t tm__counter_value(const tm__counter *c);

#endif
