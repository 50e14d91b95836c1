#include "bind/memo.h"

#include "base/hash.h"

void tm__memo_init(tm__memo *m, const tm__mem *mem) {
  *m = (tm__memo){.mem = mem, .generation = 1};
}

void tm__memo_term(tm__memo *m) {
  tm__free(m->mem, m->entries);
  tm__memo_init(m, m->mem);
}

void tm__memo_clear(tm__memo *m) {
  if (m->capacity > 65536) {
    tm__memo_term(m);
    return;
  }
  m->used = 0;
  if (++m->generation >> (64 - TM__MEMO_BITS) == 0) return;
  tm__memo_term(m); /* stamps would begin anew */
}

static bool current(const tm__memo *m, const tm__memo_entry *e) {
  return e->stamp >> TM__MEMO_BITS == m->generation;
}

static tm__memo_entry *find(const tm__memo *m, uintptr_t key) {
  enum { PAGE = 12, GRAIN = 4 };
  size_t mask = m->capacity - 1;
  size_t i = ((size_t)tm__mix64(key >> PAGE) + (key >> GRAIN)) & mask;
  while (current(m, &m->entries[i]) && m->entries[i].key != key)
    i = (i + 1) & mask;
  return &m->entries[i];
}

bool tm__memo_get(const tm__memo *m, uintptr_t key, uint64_t *offset) {
  if (!m->used) return false;
  return tm__memo_known(m, find(m, key), offset);
}

static bool grow(tm__memo *m) {
  tm__memo bigger = *m;
  bigger.capacity = m->capacity ? m->capacity * 2 : 32;
  bigger.entries = tm__calloc(m->mem, bigger.capacity, sizeof *bigger.entries);
  if (!bigger.entries) return false;
  for (size_t i = 0; i < m->capacity; i++)
    if (current(m, &m->entries[i]))
      *find(&bigger, m->entries[i].key) = m->entries[i];
  tm__free(m->mem, m->entries);
  *m = bigger;
  return true;
}

tm__memo_entry *tm__memo_seek(tm__memo *m, uintptr_t key) {
  if (m->used * 2 >= m->capacity && !grow(m)) return NULL;
  return find(m, key);
}

bool tm__memo_put(tm__memo *m, uintptr_t key, uint64_t offset) {
  tm__memo_entry *e = tm__memo_seek(m, key);
  return e && tm__memo_fill(m, e, key, offset);
}
