/*
 * ledger.h: what one process holds in the store, for when it dies
 *
 * A worker process may be killed at any instruction. Its ledger is a table
 * in the arena, id -> count, of what it would have given back itself: handles
 * (the id is the key) and pins (tm__ledger_pin of the value's offset). The
 * process alone writes it; the parent reads it once the process is gone, and
 * before the process begins writes into it what a fork hands down.
 *
 * The rule, for a kill between any two stores: who takes a count takes first
 * the real one and then writes it down; who gives one back first strikes it
 * out and then gives the real one. So a ledger never names more than is
 * held: a count in between leaks, none is given back twice.
 *
 * Nothing here locks: the store does (store_process.c).
 */
#ifndef TM_STORE_LEDGER_H
#define TM_STORE_LEDGER_H

#include "store/arena.h"

typedef struct tm__ledger tm__ledger; /* in the arena */

/* No key has this bit. */
#define TM__LEDGER_PIN ((uint64_t)1 << 63)

/* The id of a pin on the value at an offset of the arena. */
static inline uint64_t tm__ledger_pin(uint64_t offset) {
  return TM__LEDGER_PIN | offset;
}

/* An empty one; NULL when the arena is full. */
tm__ledger *tm__ledger_new(tm__arena *a);
void tm__ledger_free(tm__ledger *l, tm__arena *a);

/* One more of id, which is not 0. False when the arena has no room for a
   larger table: what is not written down leaks if the process dies. */
bool tm__ledger_add(tm__ledger *l, tm__arena *a, uint64_t id);

/* One less; an id that is not there is fine. */
void tm__ledger_sub(tm__ledger *l, tm__arena *a, uint64_t id);

/* How many of id. */
uint64_t tm__ledger_count(const tm__ledger *l, tm__arena *a, uint64_t id);

/* Walks over the ids with a count: *at is 0 at first. False at the end. */
bool tm__ledger_next(const tm__ledger *l, tm__arena *a, uint64_t *at,
                     uint64_t *id, uint64_t *count);

#endif
