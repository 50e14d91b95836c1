#include <string.h>

#include "base/platform.h"
#include "store/arena_impl.h"

/* Searches that lost a race are done again, not for ever. */
enum { TRIES = 100 };

static uint64_t load(const tm__arena *a, uint32_t unit) {
  /* acquire: what the word says about the unit was written before it. */
  return atomic_load_explicit(&a->words[unit], memory_order_acquire);
}

static void store(tm__arena *a, uint32_t unit, uint64_t word) {
  /* release: whoever claims the unit finds it as we left it. */
  atomic_store_explicit(&a->words[unit], word, memory_order_release);
}

static bool swap(tm__arena *a, uint32_t unit, uint64_t from, uint64_t to) {
  /* acquire and release, as above; a failure reads nothing. */
  return atomic_compare_exchange_strong_explicit(
      &a->words[unit], &from, to, memory_order_acq_rel, memory_order_relaxed);
}

uint32_t tm__run_skip(uint64_t word) {
  int kind = tm__word_kind(word);
  bool head = kind == TM__LARGE || kind == TM__SEGMENT || kind == TM__META;
  return head ? tm__word_value(word) : 1;
}

/* Frees TAILs 1 to n - 1 of a run, as far as they are its own. */
static void free_tails(tm__arena *a, uint32_t unit, uint32_t n) {
  for (uint32_t i = 1; i < n; i++) {
    uint64_t w = load(a, unit + i);
    if (tm__word_kind(w) == TM__TAIL && tm__word_value(w) == i)
      store(a, unit + i, 0);
  }
}

/* Claims the n units from this one; answers how many were had: all n, or
   fewer, and then none is kept. */
static uint32_t claim_at(tm__arena *a, uint32_t unit, uint32_t n) {
  if (!swap(a, unit, 0, tm__word_make(TM__CLAIMED, a->pid, n))) return 0;
  uint32_t i = 1;
  while (i < n && swap(a, unit + i, 0, tm__word_make(TM__TAIL, a->pid, i))) i++;
  if (i < n) {
    free_tails(a, unit, i);
    store(a, unit, 0);
  }
  return i;
}

/* The first run of n units in [from, to) that could be claimed, or 0. */
static uint32_t search(tm__arena *a, uint32_t from, uint32_t to, uint32_t n,
                       bool *raced) {
  uint32_t row = 0;
  for (uint32_t i = from; i < to;) {
    uint64_t w = load(a, i);
    i += tm__run_skip(w);
    row = w ? 0 : row + 1;
    if (row < n) continue;
    uint32_t got = claim_at(a, i - n, n);
    if (got == n) return i - n;
    *raced = true;
    i = i - n + got + 1;
    row = 0;
  }
  return 0;
}

static void raise_top(tm__arena *a, uint32_t end) {
  _Atomic uint32_t *top = &a->region->top;
  /* relaxed: the bound of walks, which meet only what was there before. */
  uint32_t now = atomic_load_explicit(top, memory_order_relaxed);
  while (now < end &&
         !atomic_compare_exchange_weak_explicit(
             top, &now, end, memory_order_relaxed, memory_order_relaxed))
    continue;
}

/* relaxed: a hint. */
static _Atomic uint32_t *hint_of(tm__arena *a, int kind) {
  return &a->region->hints[kind == TM__LARGE];
}

uint32_t tm__run_claim(tm__arena *a, uint32_t n, int kind) {
  uint32_t first = a->region->meta, units = a->region->units, unit = 0;
  if (n > units - first) return 0;
  bool raced = true;
  for (int i = 0; i < TRIES && raced && !unit; i++) {
    raced = false;
    uint32_t at = atomic_load_explicit(hint_of(a, kind), memory_order_relaxed);
    unit = search(a, at, units, n, &raced);
    uint32_t end = at < units - n ? at + n - 1 : units;
    if (!unit) unit = search(a, first, end, n, &raced);
  }
  if (!unit) return 0;
  atomic_store_explicit(hint_of(a, kind), unit + n, memory_order_relaxed);
  raise_top(a, unit + n);
  return unit;
}

void tm__run_commit(tm__arena *a, uint32_t unit, uint32_t n, int kind) {
  store(a, unit, tm__word_make(kind, a->pid, n));
}

static void release_pages(tm__arena *a, uint32_t unit, uint32_t n) {
  size_t offset = (size_t)unit << TM__UNIT_BITS;
  size_t size = (size_t)n << TM__UNIT_BITS;
  /* FREE units read as zero, even where the system keeps the pages. */
  if (tm__shared_release(a->base, a->fd, offset, size))
    memset(a->base + offset, 0, size);
}

/* Lowers the hint, so that the lowest addresses are used again first: their
   page tables exist. */
static void lower_hint(tm__arena *a, uint32_t unit, int kind) {
  _Atomic uint32_t *hint = hint_of(a, kind);
  if (unit < atomic_load_explicit(hint, memory_order_relaxed))
    atomic_store_explicit(hint, unit, memory_order_relaxed);
}

void tm__run_free(tm__arena *a, uint32_t unit, uint64_t word) {
  uint32_t n = tm__word_value(word);
  if (!swap(a, unit, word, tm__word_make(TM__FREEING, a->pid, n))) return;
  release_pages(a, unit, n);
  free_tails(a, unit, n);
  store(a, unit, 0);
  lower_hint(a, unit, tm__word_kind(word));
}

uint64_t tm__run_find(const tm__arena *a, const void *block, uint32_t *unit) {
  *unit = tm__unit_of(a, block);
  uint64_t word = load(a, *unit);
  if (tm__word_kind(word) != TM__TAIL) return word;
  *unit -= tm__word_value(word);
  return load(a, *unit);
}

void tm__run_recover(tm__arena *a, uint32_t unit, uint64_t word) {
  uint32_t n = tm__word_value(word);
  if (tm__word_kind(word) == TM__FREEING) {
    /* Once a TAIL is free the pages had been released, and others may have
       taken units since. */
    uint64_t first = n > 1 ? load(a, unit + 1) : tm__word_make(TM__TAIL, 0, 1);
    if (tm__word_kind(first) == TM__TAIL && tm__word_value(first) == 1)
      release_pages(a, unit, n);
  } else if (tm__word_kind(word) != TM__CLAIMED) {
    return;
  }
  free_tails(a, unit, n);
  store(a, unit, 0);
}
