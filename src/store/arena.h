/*
 * arena.h: memory that every worker sees, whenever it was started
 *
 * One region of shared memory is reserved at the start (sparse: a page costs
 * nothing until it is written) and mapped before any fork, so that an
 * address in it means the same in every process of a runtime. Blocks are
 * taken from it and go back to the system when freed. Nothing is left in
 * any folder.
 *
 * Each process allocates only in segments of its own, so that no lock is
 * shared between processes and a dead process leaves none taken; a block
 * may be freed by any process. Large blocks (TM__ARENA_LARGE and up) are
 * whole runs of pages and are given back to the system at once.
 */
#ifndef TM_STORE_ARENA_H
#define TM_STORE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

typedef struct tm__arena tm__arena;

#define TM__ARENA_LARGE ((size_t)256 * 1024)

typedef struct tm__arena_stats {
  size_t reserved; /* bytes of address space */
  size_t used;     /* bytes in live blocks, with rounding */
  size_t blocks;   /* live blocks */
  int segments;    /* segments of small blocks, of any process */
} tm__arena_stats;

/*
 * Reserves an arena. size 0: as much as the machine's memory limit, at least
 * 64 MiB, in valgrind at most 256 MiB; where the system refuses (ulimit -v, a
 * sanitizer), half of it, and so on down to 16 MiB. A size that the caller
 * names is taken as it is or refused with TM_ENOMEM and a message that says
 * what to do.
 */
int tm__arena_new(tm__arena **out, const tm__mem *mem, size_t size,
                  tm_error *e);

/*
 * The arena of another process in one that was started on its own, at the
 * address and of the size that it has there; fd is the region's descriptor,
 * which becomes the arena's. Segments of this process are settled like a
 * child's. TM_ESYS when the address is taken here; fd is then still the
 * caller's.
 */
int tm__arena_attach(tm__arena **out, const tm__mem *mem, int fd, void *base,
                     size_t size, tm_error *e);

/* What such a process must be told; the base is tm__arena_at(a, 0). The
   descriptor is closed by exec: give the process a copy. */
int tm__arena_fd(const tm__arena *a);
size_t tm__arena_size(const tm__arena *a);

/* Unmaps the region here; every block in it is gone, unless other processes
   have the arena. NULL is fine. */
void tm__arena_free(tm__arena *a);

/*
 * size bytes, aligned to 64 when size >= 64, else 16; a large block is
 * zeroed, a small one is not. NULL when the arena is full. size 0 is 1.
 */
void *tm__arena_alloc(tm__arena *a, size_t size);

/* Frees a block of tm__arena_alloc, from any thread of any process. */
void tm__arena_release(tm__arena *a, void *block);

/* Puts what any thread of this process did with the memory of a block in former
   times, before it was another process's, behind the calling one. The order is
   there without it, but by way of that process, which a checker of threads does
   not see. */
void tm__arena_meet(const tm__arena *a, const void *block);

/* The bytes that a block has room for. */
size_t tm__arena_block_size(tm__arena *a, const void *block);

/* The arena as an allocator for objects that workers share. */
const tm__mem *tm__arena_mem(tm__arena *a);

/* Whether p points into the region; and the distance from its start. */
bool tm__arena_holds(const tm__arena *a, const void *p);
uint64_t tm__arena_offset(const tm__arena *a, const void *p);
void *tm__arena_at(const tm__arena *a, uint64_t offset);

/* Called by a fresh child process first: it starts with no segments of its
   own, and with locks that nobody has: other threads of the parent may have
   held them. Called by the parent once a child is gone, before it forks
   again: the child's segments become the caller's, the live blocks in them
   stay. */
void tm__arena_child(tm__arena *a);
void tm__arena_settle(tm__arena *a, int64_t pid);

void tm__arena_stat(const tm__arena *a, tm__arena_stats *out);

#endif
