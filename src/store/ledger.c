#include "store/ledger.h"

#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum { SMALLEST = 64 };

/* A line whose count has come to 0 keeps its place, so that searches go on
   past it; the next table leaves it out. */
typedef struct line {
  uint64_t id; /* 0: free */
  uint64_t count;
} line;

/* Linear probing from the hash of the id on. At least one line is free; size
   is a power of two. */
typedef struct table {
  uint64_t size;
  uint64_t used; /* lines with an id */
  line lines[];
} table;

/* `table`, an offset, changes by one store, when the next table is ready. */
struct tm__ledger {
  uint64_t table;
};

/* Between two stores that a killed process must have made in this order.
   Only the compiler could change it for a process that is no more. */
static void in_order(void) { atomic_signal_fence(memory_order_seq_cst); }

static table *table_of(const tm__ledger *l, tm__arena *a) {
  return tm__arena_at(a, l->table);
}

static table *new_table(tm__arena *a, uint64_t size) {
  size_t bytes = sizeof(table) + (size_t)size * sizeof(line);
  table *t = tm__arena_alloc(a, bytes);
  if (!t) return NULL;
  memset(t, 0, bytes);
  t->size = size;
  return t;
}

/* The line of id, or the free one where it would be. */
static line *find(table *t, uint64_t id) {
  uint64_t i = tm__mix64(id) & (t->size - 1);
  while (t->lines[i].id && t->lines[i].id != id) i = (i + 1) & (t->size - 1);
  return &t->lines[i];
}

static uint64_t live_lines(const table *t) {
  uint64_t n = 0;
  for (uint64_t i = 0; i < t->size; i++) n += t->lines[i].count > 0;
  return n;
}

static void copy_lines(table *to, const table *from) {
  for (uint64_t i = 0; i < from->size; i++) {
    const line *old = &from->lines[i];
    if (!old->count) continue;
    *find(to, old->id) = *old;
    to->used++;
  }
}

/* A table in which the live lines take a third at most. When there is no
   room, the present one is used up to its last line but one. */
static table *next_table(tm__ledger *l, tm__arena *a, table *old) {
  uint64_t size = SMALLEST, live = live_lines(old) + 1;
  while (size < 3 * live) size *= 2;
  table *t = new_table(a, size);
  if (!t) return old->used + 2 <= old->size ? old : NULL;
  copy_lines(t, old);
  in_order();
  l->table = tm__arena_offset(a, t);
  in_order();
  tm__arena_release(a, old);
  return t;
}

tm__ledger *tm__ledger_new(tm__arena *a) {
  tm__ledger *l = tm__arena_alloc(a, sizeof *l);
  table *t = l ? new_table(a, SMALLEST) : NULL;
  if (!t) {
    tm__arena_release(a, l);
    return NULL;
  }
  l->table = tm__arena_offset(a, t);
  return l;
}

void tm__ledger_free(tm__ledger *l, tm__arena *a) {
  if (!l) return;
  tm__arena_release(a, table_of(l, a));
  tm__arena_release(a, l);
}

bool tm__ledger_add(tm__ledger *l, tm__arena *a, uint64_t id) {
  table *t = table_of(l, a);
  line *at = find(t, id);
  if (!at->id && 3 * t->used >= 2 * t->size) {
    t = next_table(l, a, t);
    if (!t) return false;
    at = find(t, id);
  }
  if (!at->id) {
    at->id = id;
    t->used++;
  }
  in_order();
  at->count++;
  return true;
}

void tm__ledger_sub(tm__ledger *l, tm__arena *a, uint64_t id) {
  line *at = find(table_of(l, a), id);
  if (at->count) at->count--;
}

uint64_t tm__ledger_count(const tm__ledger *l, tm__arena *a, uint64_t id) {
  return find(table_of(l, a), id)->count;
}

bool tm__ledger_next(const tm__ledger *l, tm__arena *a, uint64_t *at,
                     uint64_t *id, uint64_t *count) {
  const table *t = table_of(l, a);
  while (*at < t->size) {
    const line *i = &t->lines[(*at)++];
    if (!i->count) continue;
    *id = i->id;
    *count = i->count;
    return true;
  }
  return false;
}
