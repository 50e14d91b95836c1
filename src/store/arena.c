#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/platform.h"
#include "store/arena_impl.h"

enum { MIB = 1024 * 1024 };

/* The least that is worth having, the least that is tried, the most where a
   checker of leaks reads all of it at the end (and each page that is read is
   made), and the most that the store's offsets can tell. */
#define AUTO_MIN ((size_t)64 * MIB)
#define TRY_MIN ((size_t)16 * MIB)
#define CHECKED_MAX ((size_t)256 * MIB)
#define SIZE_LIMIT ((uint64_t)1 << 46)

/* Large blocks begin a little up, so that segments stay together below. */
enum { LOW_UNITS = 1024 };

static size_t round_up(size_t n, size_t step) {
  return (n + step - 1) / step * step;
}

static uint32_t units_of(size_t size) {
  return (uint32_t)(round_up(size, TM__UNIT) >> TM__UNIT_BITS);
}

/* Where the parts of the description are; answers where they end. */
static size_t find_parts(tm__arena *a) {
  size_t units = a->size >> TM__UNIT_BITS;
  size_t words = round_up(sizeof(tm__region), 64);
  size_t segments = round_up(words + units * sizeof(tm__word), 64);
  a->region = (void *)a->base;
  a->words = (void *)(a->base + words);
  a->segments = (void *)(a->base + segments);
  return segments + units * sizeof(tm__segment);
}

/* What was never written reads as zero, which is FREE. */
static void lay_out(tm__arena *a) {
  size_t end = find_parts(a);
  tm__region *r = a->region;
  r->size = a->size;
  r->units = (uint32_t)(a->size >> TM__UNIT_BITS);
  r->meta = units_of(end);
  uint32_t low = r->units / 4 < LOW_UNITS ? r->units / 4 : LOW_UNITS;
  atomic_init(&r->hints[0], r->meta);
  atomic_init(&r->hints[1], r->meta + low);
  atomic_init(&r->top, r->meta);
  tm__run_commit(a, 0, r->meta, TM__META);
}

static int map_named(tm__arena *a, size_t size, tm_error *e) {
  void *base;
  tm_error why = {.text = "more than any system has"};
  a->size = round_up(size > MIB ? size : MIB, TM__UNIT);
  if (size <= SIZE_LIMIT && !tm__shared_map(&base, &a->fd, a->size, &why)) {
    a->base = base;
    return TM_OK;
  }
  return tm__fail(e, TM_ENOMEM,
                  "cannot reserve %zu MiB for the arena; set a smaller arena "
                  "size, or raise the limit of address space (ulimit -v) (%s)",
                  size / MIB, why.text);
}

static int map_automatic(tm__arena *a, tm_error *e) {
  uint64_t limit = tm__memory_limit();
  if (limit > SIZE_LIMIT) limit = SIZE_LIMIT;
  if (limit > CHECKED_MAX && tm__in_valgrind()) limit = CHECKED_MAX;
  size_t size = limit < SIZE_MAX / 4 ? (size_t)limit : SIZE_MAX / 4;
  if (size < AUTO_MIN) size = AUTO_MIN;
  while (map_named(a, size, e)) {
    if (size <= TRY_MIN) return TM_ENOMEM;
    size = size / 2 > TRY_MIN ? size / 2 : TRY_MIN;
  }
  return TM_OK;
}

static void *mem_fn(void *user, void *ptr, size_t size) {
  tm__arena *a = user;
  if (size == 0) {
    tm__arena_release(a, ptr);
    return NULL;
  }
  size_t room = ptr ? tm__arena_block_size(a, ptr) : 0;
  bool fits = size <= room;
  /* In place, unless most of the room would be kept for nothing. */
  if (fits && size >= room / 4) return ptr;
  void *moved = tm__arena_alloc(a, size);
  if (!moved) return fits ? ptr : NULL;
  if (ptr) memcpy(moved, ptr, fits ? size : room);
  tm__arena_release(a, ptr);
  return moved;
}

/* What a process has for itself, without the region. */
static tm__arena *make_local(const tm__mem *mem, tm_error *e) {
  size_t align = _Alignof(tm__arena);
  unsigned char *memory = tm__calloc(mem, 1, sizeof(tm__arena) + align);
  if (!memory) {
    tm__fail(e, TM_ENOMEM, "no memory for the arena");
    return NULL;
  }
  tm__arena *a = (void *)(memory + (align - (uintptr_t)memory % align));
  a->mem = mem;
  a->memory = memory;
  a->pid = (uint32_t)getpid();
  a->as_mem = (tm__mem){.fn = mem_fn, .user = a};
  tm__small_init(a);
  return a;
}

static void free_local(tm__arena *a) {
  tm__small_term(a);
  tm__free(a->mem, a->memory);
}

int tm__arena_new(tm__arena **out, const tm__mem *mem, size_t size,
                  tm_error *e) {
  *out = NULL;
  tm__arena *a = make_local(mem, e);
  if (!a) return TM_ENOMEM;
  int status = size ? map_named(a, size, e) : map_automatic(a, e);
  if (status) {
    free_local(a);
    return status;
  }
  lay_out(a);
  *out = a;
  return TM_OK;
}

/* Whether a region of this size, made by this program, is mapped here. */
static bool is_region(tm__arena *a) {
  if (a->size < MIB || a->size % TM__UNIT) return false;
  size_t end = find_parts(a);
  return a->region->size == a->size &&
         a->region->units == a->size >> TM__UNIT_BITS &&
         a->region->meta == units_of(end);
}

int tm__arena_attach(tm__arena **out, const tm__mem *mem, int fd, void *base,
                     size_t size, tm_error *e) {
  *out = NULL;
  tm__arena *a = make_local(mem, e);
  if (!a) return TM_ENOMEM;
  a->base = base;
  a->size = size;
  a->fd = fd;
  int status = tm__shared_attach(base, fd, size, e);
  if (!status && !is_region(a)) {
    tm__shared_unmap(base, -1, size);
    status = tm__fail(e, TM_EINVAL,
                      "descriptor %d is not the arena of a process of this "
                      "version",
                      fd);
  }
  if (status)
    free_local(a);
  else
    *out = a;
  return status;
}

int tm__arena_fd(const tm__arena *a) { return a->fd; }

size_t tm__arena_size(const tm__arena *a) { return a->size; }

void tm__arena_free(tm__arena *a) {
  if (!a) return;
  tm__shared_unmap(a->base, a->fd, a->size);
  free_local(a);
}

static void *alloc_large(tm__arena *a, size_t size) {
  if (size > a->size) return NULL;
  uint32_t n = units_of(size);
  uint32_t unit = tm__run_claim(a, n, TM__LARGE);
  if (!unit) return NULL;
  tm__run_commit(a, unit, n, TM__LARGE);
  return tm__unit_at(a, unit);
}

static void *alloc(tm__arena *a, size_t size) {
  return size <= TM__SMALL_MAX ? tm__small_alloc(a, size)
                               : alloc_large(a, size);
}

void *tm__arena_alloc(tm__arena *a, size_t size) {
  if (size == 0) size = 1;
  void *block = alloc(a, size);
  if (block || size > a->size) return block;
  tm__small_collect(a);
  return alloc(a, size);
}

void tm__arena_release(tm__arena *a, void *block) {
  if (!block) return;
  uint32_t unit;
  uint64_t word = tm__run_find(a, block, &unit);
  if (tm__word_kind(word) == TM__SEGMENT)
    tm__small_free(a, unit, word, block);
  else if (tm__word_kind(word) == TM__LARGE)
    tm__run_free(a, unit, word);
}

void tm__arena_meet(const tm__arena *a, const void *block) {
  uint32_t unit;
  tm__run_find(a, block, &unit); /* whose words are written as it is given */
}

size_t tm__arena_block_size(tm__arena *a, const void *block) {
  uint32_t unit;
  uint64_t word = tm__run_find(a, block, &unit);
  if (tm__word_kind(word) == TM__SEGMENT) return a->segments[unit].size;
  return (size_t)tm__word_value(word) << TM__UNIT_BITS;
}

const tm__mem *tm__arena_mem(tm__arena *a) { return &a->as_mem; }

bool tm__arena_holds(const tm__arena *a, const void *p) {
  return (uintptr_t)p - (uintptr_t)a->base < a->size;
}

uint64_t tm__arena_offset(const tm__arena *a, const void *p) {
  return (uint64_t)((const unsigned char *)p - a->base);
}

void *tm__arena_at(const tm__arena *a, uint64_t offset) {
  return a->base + offset;
}

void tm__arena_child(tm__arena *a) {
  a->pid = (uint32_t)getpid();
  tm__small_init(a);
}

/* relaxed: a run above a stale bound is as good as made later. */
static uint32_t top_of(const tm__arena *a) {
  return atomic_load_explicit(&a->region->top, memory_order_relaxed);
}

void tm__arena_settle(tm__arena *a, int64_t pid) {
  uint32_t top = top_of(a);
  for (uint32_t unit = a->region->meta; unit < top;) {
    uint64_t word = atomic_load(&a->words[unit]);
    bool dead = tm__word_pid(word) == (uint32_t)pid;
    if (dead && tm__word_kind(word) == TM__SEGMENT)
      tm__small_adopt(a, unit, word);
    else if (dead)
      tm__run_recover(a, unit, word);
    unit += tm__run_skip(word);
  }
  tm__small_collect(a);
}

/* Blocks that other processes freed count as freed, though the owner has not
   fetched them yet. */
static uint32_t live_blocks(tm__segment *s) {
  /* relaxed: figures, and the two may be a moment apart. */
  uint64_t r = atomic_load_explicit(&s->remote, memory_order_relaxed);
  uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
  return used > r >> 32 ? used - (uint32_t)(r >> 32) : 0;
}

void tm__arena_stat(const tm__arena *a, tm__arena_stats *out) {
  *out = (tm__arena_stats){.reserved = a->size};
  uint32_t top = top_of(a);
  for (uint32_t unit = a->region->meta; unit < top;) {
    uint64_t word = atomic_load(&a->words[unit]);
    if (tm__word_kind(word) == TM__LARGE) {
      out->used += (size_t)tm__word_value(word) << TM__UNIT_BITS;
      out->blocks++;
    } else if (tm__word_kind(word) == TM__SEGMENT) {
      uint32_t n = live_blocks(&a->segments[unit]);
      out->used += (size_t)n * a->segments[unit].size;
      out->blocks += n;
      out->segments++;
    }
    unit += tm__run_skip(word);
  }
}
