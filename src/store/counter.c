#include "store/counter.h"

#include <stdatomic.h>

/* How many multiples of every are at or below value. */
static int64_t multiples(int64_t value, int64_t every) {
  int64_t n = value / every;
  return value % every < 0 ? n - 1 : n;
}

bool tm__counter_add(tm__counter *c, int64_t inc, int64_t *reached) {
  /* relaxed: a count orders nothing else. Unsigned, since it may wrap. */
  int64_t before =
      atomic_fetch_add_explicit(&c->value, inc, memory_order_relaxed);
  int64_t after = (int64_t)((uint64_t)before + (uint64_t)inc);
  if (c->every <= 0 || after <= before) return false;
  if (multiples(before, c->every) == multiples(after, c->every)) return false;
  *reached = after;
  return true;
}

int64_t tm__counter_value(const tm__counter *c) {
  return atomic_load_explicit(&((tm__counter *)c)->value, memory_order_relaxed);
}
