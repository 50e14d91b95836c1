#include "store/arena_impl.h"

/* How many segments of its ring an allocation looks through before it takes
   a new one: many may be full for long. */
enum { LOOKS = 8 };

static int bin_of(size_t size) {
  if (size <= 64) return (int)((size - 1) / 16);
  if (size <= 256) return 3 + (int)((size - 1) / 64);
  int e = 63 - __builtin_clzll((unsigned long long)(size - 1));
  return 7 + (e - 8) * 4 + (int)(((size - 1) >> (e - 2)) & 3);
}

static uint32_t bin_size(int bin) {
  if (bin < 4) return (uint32_t)(bin + 1) * 16;
  if (bin < 7) return (uint32_t)(bin - 2) * 64;
  int e = 8 + (bin - 7) / 4, step = (bin - 7) % 4;
  return (uint32_t)(5 + step) << (e - 2);
}

/* Enough for a few blocks, so that the ends that no block fits in are
   small; the pages of an end are never touched. */
static uint32_t bin_units(uint32_t size) {
  return size <= 8 * 1024 ? 1 : size <= 32 * 1024 ? 4 : 8;
}

void tm__small_init(tm__arena *a) {
  for (int i = 0; i < TM__BINS; i++) {
    tm__bin *bin = &a->bins[i];
    pthread_mutex_init(&bin->lock, NULL);
    bin->current = NULL;
    bin->size = bin_size(i);
    bin->units = bin_units(bin->size);
  }
}

void tm__small_term(tm__arena *a) {
  for (int i = 0; i < TM__BINS; i++) pthread_mutex_destroy(&a->bins[i].lock);
}

static uint32_t unit_of(const tm__arena *a, const tm__segment *s) {
  return (uint32_t)(s - a->segments);
}

/* Between two stores that a killed owner must have made in this order. Only
   the compiler could change it for a process that is no more. */
static void in_order(void) { atomic_signal_fence(memory_order_seq_cst); }

/* relaxed: only the owner writes it, under a lock; others take it as a
   figure for statistics. */
static uint32_t used(const tm__segment *s) {
  return atomic_load_explicit(&s->used, memory_order_relaxed);
}

static void set_used(tm__segment *s, uint32_t n) {
  atomic_store_explicit(&s->used, n, memory_order_relaxed);
}

static bool has_room(const tm__segment *s) {
  return s->free || s->fresh + s->size <= s->end;
}

/* Puts s into the ring after the current one; both are the caller's bin's. */
static void link_in(tm__arena *a, tm__bin *bin, tm__segment *s) {
  uint32_t unit = unit_of(a, s);
  if (!bin->current) {
    s->next = s->prev = unit;
    bin->current = s;
    return;
  }
  s->prev = unit_of(a, bin->current);
  s->next = bin->current->next;
  a->segments[s->next].prev = unit;
  bin->current->next = unit;
}

static void link_out(tm__arena *a, tm__bin *bin, tm__segment *s) {
  tm__segment *next = &a->segments[s->next];
  next->prev = s->prev;
  a->segments[s->prev].next = s->next;
  if (bin->current == s) bin->current = next == s ? NULL : next;
}

/* Gives an empty segment back. */
static void retire(tm__arena *a, tm__bin *bin, tm__segment *s) {
  uint32_t unit = unit_of(a, s);
  link_out(a, bin, s);
  tm__run_free(a, unit, tm__word_make(TM__SEGMENT, a->pid, bin->units));
}

/* Takes what other processes have freed. */
static void drain(tm__arena *a, tm__segment *s) {
  /* relaxed: asks only whether it is worth while. */
  if (!atomic_load_explicit(&s->remote, memory_order_relaxed)) return;
  /* acquire: meets the release of each push; their links are there. */
  uint64_t r = atomic_exchange_explicit(&s->remote, 0, memory_order_acquire);
  unsigned char *base = tm__unit_at(a, unit_of(a, s));
  uint32_t *last = (uint32_t *)(void *)(base + (uint32_t)r - 1);
  while (*last) last = (uint32_t *)(void *)(base + *last - 1);
  *last = s->free;
  s->free = (uint32_t)r;
  in_order();
  set_used(s, used(s) - (uint32_t)(r >> 32));
}

/* A new segment, made the current one. */
static tm__segment *add_segment(tm__arena *a, tm__bin *bin) {
  uint32_t unit = tm__run_claim(a, bin->units, TM__SEGMENT);
  if (!unit) return NULL;
  tm__segment *s = &a->segments[unit];
  s->free = s->fresh = 0;
  s->size = bin->size;
  s->end = bin->units * (uint32_t)TM__UNIT;
  s->bin = (int)(bin - a->bins);
  set_used(s, 0);
  atomic_store_explicit(&s->remote, 0, memory_order_relaxed);
  /* From here on other processes see it, and settling finds it. */
  tm__run_commit(a, unit, bin->units, TM__SEGMENT);
  link_in(a, bin, s);
  return bin->current = s;
}

/* Finds room in the ring and makes that segment the current one. Of the
   others that it meets on the way, those that turn out empty go back. */
static tm__segment *refill(tm__arena *a, tm__bin *bin) {
  tm__segment *s = bin->current, *found = NULL;
  for (int i = 0; i < LOOKS && s; i++) {
    tm__segment *next = &a->segments[s->next];
    bool last = next == bin->current;
    drain(a, s);
    if (!found && has_room(s)) found = s;
    if (s != found && !used(s)) retire(a, bin, s);
    if (last) break;
    s = next;
  }
  if (s && !found) bin->current = s;
  return found ? bin->current = found : add_segment(a, bin);
}

static void *pop(tm__arena *a, tm__segment *s) {
  uint32_t offset = s->free ? s->free - 1 : s->fresh;
  unsigned char *block = tm__unit_at(a, unit_of(a, s)) + offset;
  set_used(s, used(s) + 1);
  in_order();
  if (s->free)
    s->free = *(uint32_t *)(void *)block;
  else
    s->fresh += s->size;
  return block;
}

static void *bin_alloc(tm__arena *a, tm__bin *bin) {
  pthread_mutex_lock(&bin->lock);
  tm__segment *s = bin->current;
  if (!s || !has_room(s)) s = refill(a, bin);
  void *block = s ? pop(a, s) : NULL;
  pthread_mutex_unlock(&bin->lock);
  return block;
}

void *tm__small_alloc(tm__arena *a, size_t size) {
  return bin_alloc(a, &a->bins[bin_of(size)]);
}

/* Frees a block of another process's segment. */
static void push_remote(tm__segment *s, uint32_t offset, uint32_t *link) {
  /* relaxed: what is read is stored in the block and compared again. */
  uint64_t now = atomic_load_explicit(&s->remote, memory_order_relaxed), to;
  do {
    *link = (uint32_t)now;
    to = ((now >> 32) + 1) << 32 | (offset + 1);
    /* release: the link, and all that was done with the block, is there
       before the owner sees it. */
  } while (!atomic_compare_exchange_weak_explicit(
      &s->remote, &now, to, memory_order_release, memory_order_relaxed));
}

static void push_own(tm__arena *a, tm__bin *bin, tm__segment *s,
                     uint32_t offset, uint32_t *link) {
  bool was_full = !has_room(s);
  *link = s->free;
  s->free = offset + 1;
  in_order();
  set_used(s, used(s) - 1);
  if (s == bin->current) return;
  if (!used(s)) {
    retire(a, bin, s);
  } else if (was_full) {
    /* Next to the current one, where the next refill looks first. */
    link_out(a, bin, s);
    link_in(a, bin, s);
  }
}

void tm__small_free(tm__arena *a, uint32_t unit, uint64_t word, void *block) {
  tm__segment *s = &a->segments[unit];
  uint32_t offset = (uint32_t)((unsigned char *)block - tm__unit_at(a, unit));
  if (tm__word_pid(word) != a->pid) {
    push_remote(s, offset, block);
    return;
  }
  tm__bin *bin = &a->bins[s->bin];
  pthread_mutex_lock(&bin->lock);
  push_own(a, bin, s, offset, block);
  pthread_mutex_unlock(&bin->lock);
}

void tm__small_adopt(tm__arena *a, uint32_t unit, uint64_t word) {
  tm__segment *s = &a->segments[unit];
  tm__bin *bin = &a->bins[s->bin];
  uint64_t mine = tm__word_make(TM__SEGMENT, a->pid, tm__word_value(word));
  pthread_mutex_lock(&bin->lock);
  if (atomic_compare_exchange_strong(&a->words[unit], &word, mine)) {
    link_in(a, bin, s);
    drain(a, s);
    if (!used(s) && s != bin->current) retire(a, bin, s);
  }
  pthread_mutex_unlock(&bin->lock);
}

static void collect_bin(tm__arena *a, tm__bin *bin) {
  tm__segment *s = bin->current;
  for (bool last = !s; !last;) {
    tm__segment *next = &a->segments[s->next];
    last = next == bin->current;
    drain(a, s);
    if (!used(s)) retire(a, bin, s);
    s = next;
  }
}

void tm__small_collect(tm__arena *a) {
  for (int i = 0; i < TM__BINS; i++) {
    pthread_mutex_lock(&a->bins[i].lock);
    collect_bin(a, &a->bins[i]);
    pthread_mutex_unlock(&a->bins[i].lock);
  }
}
