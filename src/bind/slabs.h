/*
 * slabs.h: memory for the small objects of one Lua state
 *
 * A Lua state takes and gives back tables and strings by the hundred
 * thousand, on one thread, and always says how large a block was. So blocks
 * up to TM__SLABS_MOST bytes come from slabs of blocks of one size, which lie
 * in chunks; larger ones are the allocator's. A slab whose blocks are all free
 * serves any size again, and a chunk of such slabs goes back to the
 * allocator, but for a few that are kept.
 */
#ifndef TM_BIND_SLABS_H
#define TM_BIND_SLABS_H

#include "base/memory.h"

#include <stddef.h>
#include <stdint.h>

enum { TM__SLABS_MOST = 256, TM__SLABS_GRAIN = 16 };

typedef struct tm__slab tm__slab;
typedef struct tm__chunk tm__chunk;

typedef struct tm__slabs {
  const tm__mem *mem;
  /* slabs with free blocks, by size: 1 to TM__SLABS_MOST grains */
  tm__slab *partial[TM__SLABS_MOST / TM__SLABS_GRAIN + 1];
  tm__slab *empty; /* nempty slabs whose blocks are all free */
  int nempty;
  tm__chunk *chunks;
  tm__chunk *fresh; /* the one with slabs that were never used, or NULL */
  void *anchor;     /* when this large block is freed, everything goes, and s
                       itself, which is from mem; NULL */
} tm__slabs;

void tm__slabs_init(tm__slabs *s, const tm__mem *mem);

/* Gives back all chunks: no block may be in use. */
void tm__slabs_term(tm__slabs *s);

/* A lua_Alloc; user is a tm__slabs. */
void *tm__slabs_alloc(void *user, void *ptr, size_t old, size_t size);

#endif
