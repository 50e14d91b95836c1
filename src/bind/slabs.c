#include "bind/slabs.h"

#include <stdbool.h>
#include <string.h>

enum { SLAB = 8192, HEAD = 64, SLABS = 14, NEMPTY_MOST = 4 * SLABS };

/* At the start of the SLAB bytes, which are aligned to SLAB. Blocks from
   `fresh` on were never used. A slab without a free block is in no list. */
struct tm__slab {
  tm__slab *next, *prev;
  tm__chunk *chunk;
  void *free; /* a list through the blocks' first words */
  unsigned char *fresh;
  uint32_t size, used, most;
};

_Static_assert(sizeof(tm__slab) <= HEAD, "the head of a slab holds it");

/* At the start of what the allocator gave; its slabs begin at the next
   multiple of SLAB. */
struct tm__chunk {
  tm__chunk *next, *prev;
  int carved, used; /* slabs that exist; that have blocks in use */
};

static void link(tm__slab **list, tm__slab *slab) {
  slab->prev = NULL;
  slab->next = *list;
  if (slab->next) slab->next->prev = slab;
  *list = slab;
}

static void cut(tm__slab **list, tm__slab *slab) {
  if (slab->next) slab->next->prev = slab->prev;
  if (slab->prev)
    slab->prev->next = slab->next;
  else
    *list = slab->next;
}

/* ---- chunks ---- */

static tm__slab *slab_at(tm__chunk *c, int i) {
  uintptr_t first = ((uintptr_t)(c + 1) + SLAB - 1) & ~(uintptr_t)(SLAB - 1);
  return (tm__slab *)(first + (uintptr_t)i * SLAB);
}

static bool add_chunk(tm__slabs *s) {
  tm__chunk *c = tm__alloc(s->mem, (size_t)(SLABS + 1) * SLAB + sizeof *c);
  if (!c) return false;
  *c = (tm__chunk){.next = s->chunks};
  if (c->next) c->next->prev = c;
  s->chunks = s->fresh = c;
  return true;
}

/* None of its slabs has a block in use. */
static void drop_chunk(tm__slabs *s, tm__chunk *c) {
  for (int i = 0; i < c->carved; i++) cut(&s->empty, slab_at(c, i));
  s->nempty -= c->carved;
  if (s->fresh == c) s->fresh = NULL;
  if (c->next) c->next->prev = c->prev;
  if (c->prev)
    c->prev->next = c->next;
  else
    s->chunks = c->next;
  tm__free(s->mem, c);
}

/* ---- slabs ---- */

static tm__slab *take_slab(tm__slabs *s) {
  tm__slab *slab = s->empty;
  if (slab) {
    cut(&s->empty, slab);
    s->nempty--;
    return slab;
  }
  if (!s->fresh && !add_chunk(s)) return NULL;
  tm__chunk *c = s->fresh;
  slab = slab_at(c, c->carved++);
  slab->chunk = c;
  if (c->carved == SLABS) s->fresh = NULL;
  return slab;
}

/* A slab for blocks of so many grains. */
static tm__slab *open_slab(tm__slabs *s, size_t grains) {
  tm__slab *slab = take_slab(s);
  if (!slab) return NULL;
  slab->chunk->used++;
  slab->free = NULL;
  slab->fresh = (unsigned char *)slab + HEAD;
  slab->size = (uint32_t)grains * TM__SLABS_GRAIN;
  slab->used = 0;
  slab->most = (SLAB - HEAD) / slab->size;
  link(&s->partial[grains], slab);
  return slab;
}

static void close_slab(tm__slabs *s, tm__slab *slab) {
  tm__chunk *c = slab->chunk;
  cut(&s->partial[slab->size / TM__SLABS_GRAIN], slab);
  link(&s->empty, slab);
  s->nempty++;
  if (--c->used == 0 && s->nempty > NEMPTY_MOST) drop_chunk(s, c);
}

/* ---- blocks ---- */

static void *take(tm__slabs *s, size_t size) {
  size_t grains = (size + TM__SLABS_GRAIN - 1) / TM__SLABS_GRAIN;
  tm__slab *slab = s->partial[grains];
  if (!slab && !(slab = open_slab(s, grains))) return NULL;
  void *block = slab->free;
  if (block) {
    memcpy(&slab->free, block, sizeof slab->free);
  } else {
    block = slab->fresh;
    slab->fresh += slab->size;
  }
  if (++slab->used == slab->most) cut(&s->partial[grains], slab);
  return block;
}

static void give(tm__slabs *s, void *block) {
  tm__slab *slab = (tm__slab *)((uintptr_t)block & ~(uintptr_t)(SLAB - 1));
  memcpy(block, &slab->free, sizeof slab->free);
  slab->free = block;
  if (slab->used-- == slab->most)
    link(&s->partial[slab->size / TM__SLABS_GRAIN], slab);
  if (slab->used == 0) close_slab(s, slab);
}

static bool is_small(size_t size) { return size - 1 < TM__SLABS_MOST; }

/* From one kind of block to the other, or to another size of small ones. */
static void *move(tm__slabs *s, void *ptr, size_t old, size_t size) {
  size_t grains = (old + TM__SLABS_GRAIN - 1) / TM__SLABS_GRAIN;
  if (is_small(old) && is_small(size) &&
      grains == (size + TM__SLABS_GRAIN - 1) / TM__SLABS_GRAIN)
    return ptr;
  void *block = is_small(size) ? take(s, size) : tm__alloc(s->mem, size);
  if (!block) return NULL;
  memcpy(block, ptr, old < size ? old : size);
  if (is_small(old))
    give(s, ptr);
  else
    tm__free(s->mem, ptr);
  return block;
}

static void free_large(tm__slabs *s, void *ptr) {
  bool last = ptr == s->anchor;
  tm__free(s->mem, ptr);
  if (!last) return;
  tm__mem mem = *s->mem; /* which may lie behind s */
  tm__slabs_term(s);
  tm__free(&mem, s);
}

void *tm__slabs_alloc(void *user, void *ptr, size_t old, size_t size) {
  tm__slabs *s = user;
  if (!ptr) {
    if (size == 0) return NULL;
    return is_small(size) ? take(s, size) : tm__alloc(s->mem, size);
  }
  if (size && (is_small(old) || is_small(size))) return move(s, ptr, old, size);
  if (size) return tm__realloc(s->mem, ptr, size);
  if (is_small(old))
    give(s, ptr);
  else
    free_large(s, ptr);
  return NULL;
}

void tm__slabs_init(tm__slabs *s, const tm__mem *mem) {
  *s = (tm__slabs){.mem = mem};
}

void tm__slabs_term(tm__slabs *s) {
  for (tm__chunk *c = s->chunks, *next; c; c = next) {
    next = c->next;
    tm__free(s->mem, c);
  }
  tm__slabs_init(s, s->mem);
}
