/*
 * arena_impl.h: the inside of the arena; only arena*.c and its test include it
 *
 * The region is an array of units of 64 KiB. Its first units hold what all
 * processes must see: a tm__region, then a word for each unit, then a
 * tm__segment for each unit. A block's place in the region is all that is
 * needed to free it:
 *
 *   address -> unit -> word: whose it is, what it is, where it begins
 *
 * Units are taken in runs. A large block is a run; a segment is a run that
 * is cut into small blocks of one size. Words change by compare-and-swap, or
 * by a store of the one process that a word names; there are no locks across
 * processes. FREE units have no pages: they read as zero and cost nothing.
 *
 * Words of a run while it is taken: CLAIMED at its first unit, TAIL at the
 * others in ascending order, then LARGE or SEGMENT at the first. While it is
 * given back: FREEING at the first, the pages are released, the TAILs become
 * FREE in ascending order, last the first unit. So a TAIL always has a head,
 * and what a killed process left half done can be told and undone.
 */
#ifndef TM_STORE_ARENA_IMPL_H
#define TM_STORE_ARENA_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/arena.h"

#define TM__UNIT_BITS 16
#define TM__UNIT ((size_t)1 << TM__UNIT_BITS)

/* Sizes of small blocks: 16, 32, 48, 64, 128, 192, 256, then four steps to
   each doubling: 320, 384, 448, 512, 640, ... TM__SMALL_MAX. */
#define TM__SMALL_MAX ((size_t)224 * 1024)
#define TM__BINS 46

enum tm__unit_kind {
  TM__FREE = 0, /* the whole word is 0 */
  TM__TAIL,     /* of a run; value: units back to its first */
  TM__CLAIMED,  /* first unit of a run being taken; value: units of it */
  TM__FREEING,  /* ... being given back */
  TM__LARGE,    /* ... a large block */
  TM__SEGMENT,  /* ... a segment */
  TM__META      /* ... what is described here */
};

/* A word: kind in bits 0 to 2, process id in bits 3 to 31, value above. */
typedef _Atomic uint64_t tm__word;

static inline uint64_t tm__word_make(int kind, uint32_t pid, uint32_t value) {
  return (uint64_t)value << 32 | (uint64_t)pid << 3 | (uint64_t)kind;
}

static inline int tm__word_kind(uint64_t w) { return (int)(w & 7); }
static inline uint32_t tm__word_pid(uint64_t w) { return (uint32_t)w >> 3; }
static inline uint32_t tm__word_value(uint64_t w) {
  return (uint32_t)(w >> 32);
}

/* Hints say where a search may begin; wrong ones cost time only. No unit
   from top on was ever taken. */
typedef struct tm__region {
  uint64_t size;
  uint32_t units;
  uint32_t meta;             /* units of the description */
  _Atomic uint32_t hints[2]; /* for segments, for large blocks */
  _Atomic uint32_t top;
} tm__region;

/*
 * A run cut into blocks of `size` bytes, at the index of its first unit.
 * Offsets are from the run's begin; a list keeps offset + 1, so that 0 is
 * none, and continues in the first bytes of each free block. Blocks from
 * `fresh` on were never used. `used` counts the blocks that were handed out
 * and are not back in `free`.
 *
 * Only the owning process touches these fields, under its bin's lock (others
 * read `used` for statistics). The owner may be killed between any two
 * stores: `used` is then too high, never too low.
 *
 * Other processes push what they free onto `remote`: the count in the high
 * half, the list in the low half. The owner takes all of it at once.
 */
typedef struct tm__segment {
  _Alignas(64) uint32_t free;
  uint32_t fresh;
  uint32_t end; /* past the last whole block */
  uint32_t size;
  uint32_t next, prev; /* the owner's ring of this size */
  int bin;
  _Atomic uint32_t used;
  _Alignas(64) _Atomic uint64_t remote;
} tm__segment;

/* This process's segments of one block size: a ring. Blocks are taken from
   `current` (NULL: the ring is empty). `current` stays when it empties, as
   the spare; others that empty are given back. */
typedef struct tm__bin {
  _Alignas(64) pthread_mutex_t lock;
  tm__segment *current;
  uint32_t size;  /* of a block */
  uint32_t units; /* of a segment */
} tm__bin;

/* What each process has for itself; a fork child inherits a copy and empties
   its bins. */
struct tm__arena {
  tm__bin bins[TM__BINS];
  const tm__mem *mem; /* where this struct is */
  void *memory;       /* what mem gave: this struct is aligned in it */
  tm__mem as_mem;
  unsigned char *base;
  tm__region *region;
  tm__word *words;
  tm__segment *segments;
  size_t size;
  uint32_t pid;
  int fd;
};

static inline uint32_t tm__unit_of(const tm__arena *a, const void *p) {
  return (uint32_t)(tm__arena_offset(a, p) >> TM__UNIT_BITS);
}

static inline unsigned char *tm__unit_at(const tm__arena *a, uint32_t unit) {
  return a->base + ((size_t)unit << TM__UNIT_BITS);
}

/* arena_run.c: runs of units */

/* Takes n units in a row and answers the first, CLAIMED; 0 when there are no
   such. The caller makes it LARGE or SEGMENT by tm__run_commit. */
uint32_t tm__run_claim(tm__arena *a, uint32_t n, int kind);
void tm__run_commit(tm__arena *a, uint32_t unit, uint32_t n, int kind);

/* Gives a run back whose first word is `word`, pages first. Nothing happens
   when it is another by now. */
void tm__run_free(tm__arena *a, uint32_t unit, uint64_t word);

/* The word of the run that a block is in; *unit becomes its first unit. */
uint64_t tm__run_find(const tm__arena *a, const void *block, uint32_t *unit);

/* How many units after a word a walk over the units may go on. */
uint32_t tm__run_skip(uint64_t word);

/* Ends what a dead process had begun at a CLAIMED or FREEING word. */
void tm__run_recover(tm__arena *a, uint32_t unit, uint64_t word);

/* arena_small.c: segments and their blocks */

/* Makes all bins, empty; a child has to make them anew. */
void tm__small_init(tm__arena *a);
void tm__small_term(tm__arena *a);

void *tm__small_alloc(tm__arena *a, size_t size);
void tm__small_free(tm__arena *a, uint32_t unit, uint64_t word, void *block);

/* Takes over a segment of a dead process. */
void tm__small_adopt(tm__arena *a, uint32_t unit, uint64_t word);

/* Fetches what others freed and gives every empty segment back. */
void tm__small_collect(tm__arena *a);

#endif
