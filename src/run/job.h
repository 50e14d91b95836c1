/*
 * job.h: one call to a pool, a task over n items
 *
 * Items are numbered from 0 here. Workers claim runs of them (runs.h) and
 * answer each with a message of records, which takes the place of the claim.
 *
 *   0 ......... next ......... limit
 *     claimed        unclaimed
 *
 * Invariants
 *   - every item below limit is counted in `settled` exactly once: when its
 *     record was published, or when it was skipped. A worker process that is
 *     killed may leave items settled and not counted, never the reverse:
 *     `slack` says how many at most, and tm__job_audit finds out;
 *   - the job is done when it is closed and all items are settled; `done` is
 *     set once, after every word was written;
 *   - a job that raises claims nothing above its lowest failed item, and
 *     every item below that is run;
 *   - a job that was stopped has nothing to claim, then or later, and is in
 *     no queue.
 *
 * A stream (imap) is a job whose limit grows while it runs: its owner feeds
 * items and takes results, at most `window` of them between. Whoever takes
 * results waits for each of them, so there is a spare message for each place,
 * for the failure of an item when there is no memory to say it.
 *
 * Jobs of a process pool are in the arena, at one address in every process.
 * Worker processes change what is atomic and nothing else; they keep a job
 * alive by a note in their seat (hub.h), and its `refs` are the parent's.
 *
 * Threads: any worker of the pool claims and publishes; only the owner (the
 * thread that submitted) calls feed, close, take.
 */
#ifndef TM_RUN_JOB_H
#define TM_RUN_JOB_H

#include "run/guest.h"

typedef struct tm__pool tm__pool;
typedef struct tm__inbox tm__inbox;
typedef struct tm__region tm__region;

/* Why an item failed; the names are in tm__kind_name. */
enum tm__kind {
  TM__FAIL_TASK = 1,
  TM__FAIL_DIED,
  TM__FAIL_TIMEOUT,
  TM__FAIL_CANCELLED,
  TM__FAIL_INTERRUPTED,
  TM__FAIL_SEND
};
const char *tm__kind_name(int kind);

/* A record: this head, then len bytes. */
enum tm__record_tag {
  TM__REC_OK = 0,   /* what the guest wrote of the result */
  TM__REC_FAIL = 1, /* what the guest wrote of the error */
  TM__REC_CORE = 2  /* a text that the core wrote */
};

typedef struct tm__record {
  unsigned char tag, kind;
  uint32_t len;
} tm__record;

#define TM__RECORD_HEAD 6 /* bytes of an encoded head */

void tm__record_write(unsigned char *at, tm__record r);

/* Reads the head at *at, which is below end, and moves *at to its bytes;
   false when it does not fit. */
bool tm__record_read(const unsigned char **at, const unsigned char *end,
                     tm__record *out);

/* Appends a failure with a text of the core's. */
bool tm__record_text(tm__buf *b, int kind, const char *text);

enum tm__items_kind {
  TM__ITEMS_PACKED,   /* bytes in `packed`, item i at offsets[i] */
  TM__ITEMS_INTS,     /* start.i + i * step.i */
  TM__ITEMS_FLOATS,   /* start.f + i * step.f */
  TM__ITEMS_INT_LIST, /* tm__number in `packed`, 8 bytes an item */
  TM__ITEMS_FLOAT_LIST,
  TM__ITEMS_ARRAY,  /* elements or rows; the array is in the code */
  TM__ITEMS_STREAM, /* a message an item, in the slots */
  TM__ITEMS_DIRECT  /* the guest has them (tm__job.user) */
};

typedef union tm__number {
  int64_t i;
  double f;
} tm__number;

typedef struct tm__items {
  int kind;
  uint64_t n;
  tm__msg *packed;   /* owned */
  uint64_t *offsets; /* owned; NULL when n is 1 */
  tm__number start, step;
} tm__items;

/* What the caller asked for. Zero everywhere is the default. */
typedef struct tm__spec {
  char name[64];    /* of the task, for errors */
  uint64_t chunk;   /* items a claim; 0: measured */
  uint64_t timeout; /* ns an item; 0: none */
  uint32_t retries; /* after death or timeout */
  bool collect;     /* keep going after a failure */
  bool spread;      /* an item is a tuple of arguments */
  bool all;         /* keep all values that the task returns */
  bool out;         /* results go into an array; their records are empty */
  bool seeded;
  int64_t seed;
  uint64_t window; /* > 0: a stream that runs at most so far ahead */
} tm__spec;

/* The message of a failure that no memory was left for. */
typedef struct tm__spare {
  tm__msg msg;
  unsigned char bytes[80];
} tm__spare;

/* A run of items that is the caller's. It is ended from the front, by what is
   published; the rest stays the caller's until it is left. */
typedef struct tm__claim {
  uint64_t first, last;
  uint32_t tries;  /* times that these items were tried before */
  uint32_t worker; /* index of whose it is */
} tm__claim;

struct tm__job {
  _Atomic uint32_t refs;
  uint64_t id; /* unique in the runtime */
  tm__pool *pool;
  tm__spec spec;
  tm__items items;
  tm__msg *code;  /* task and arguments common to all items; may be NULL */
  uint64_t owner; /* uid of the state that will read the results */
  void *user;     /* the guest's own */
  struct tm__batch *batch; /* a kernel in the place of code; owned, or NULL */
  _Atomic uint64_t *words; /* runs.h: one for each item or place */
  _Atomic uint64_t one;    /* the words of a job of one item */
  uint64_t nwords;
  tm__msg **fed;                /* of a stream: as many items as words */
  tm__spare *spares;            /* of a stream: as many as words */
  struct tm__hub *hub;          /* of a process pool; NULL: threads */
  uint64_t entry;               /* in the hub's ring, from 1; 0: none */
  tm__inbox *inbox;             /* told when done; may be NULL */
  struct tm__job *next_done;    /* in the inbox */
  struct tm__job *next_suspect; /* the same */
  bool delivered;               /* was taken from there; its owner's */
  struct tm__job *sibling;      /* in tm__piece.children; its thread's */
  struct tm__job *queued_next, *queued_prev; /* in the pool; its lock */
  bool queued;                               /* its lock */
  _Atomic bool watched; /* counted in bell.timed; set before it is submitted */
  uint64_t taken;       /* of a stream, by its owner: items taken in a row */

  /* Written at each claim; at times, and read for each item; at times, and
     awaited; in small batches: each on lines of its own, for a line goes from
     one core to another in the time of several items. */
  char pad1[64];
  _Atomic uint64_t next;
  _Atomic uint64_t again; /* where runs were given back: runs.h */

  char pad2[64];
  _Atomic uint64_t limit;
  _Atomic uint64_t fail_at;   /* lowest failed item in raise mode */
  _Atomic uint32_t closed;    /* limit is final */
  _Atomic uint32_t stopped;   /* nothing may be left unclaimed */
  _Atomic uint32_t cancelled; /* 0, or the enum tm__kind that says why */
  _Atomic uint32_t lost;      /* an abandoned worker may still read items */
  _Atomic uint64_t slack;     /* items that may be settled and not counted */
  _Atomic uint64_t failed;

  char pad3[64];
  _Atomic uint32_t ended; /* somebody sees to its end; `done` follows */
  _Atomic uint32_t done;
  _Atomic uint32_t waiters;
  _Atomic uint32_t resting; /* workers that sleep with it prepared */
  _Atomic uint32_t tick;    /* futex: grows with what waiters wait for */

  char pad4[64];
  _Atomic uint64_t settled;
};

/*
 * Makes a job for a pool, with one reference, the caller's. items and code
 * are taken over, also on failure. Allocates from the pool's memory.
 */
int tm__job_new(tm__job **out, tm__pool *pool, const tm__spec *spec,
                tm__items *items, tm__msg *code, tm_error *e);

tm__job *tm__job_ref(tm__job *job);

/* Frees the items and the results of a job that is done: its owner has read
   them. What is left can still be asked. Does nothing when an abandoned
   worker may come back to them. */
void tm__job_empty(tm__job *job);
void tm__job_unref(tm__job *job);

/* For the pool: of a job without references. */
void tm__job_free(tm__job *job);

/* The pool of a job as this process knows it. */
tm__pool *tm__job_pool(const tm__job *job);

/* Publishes m (may be NULL), the records of the first `records` items of a
   claim, and settles `count` >= records of them: the claim begins after
   them. */
void tm__job_publish(tm__job *job, tm__claim *claim, tm__msg *m,
                     uint64_t records, uint64_t count);

/* The same, but the items are counted later: the caller does it, with
   tm__job_settle, soon, and before it waits for anything. `uncounted`: how
   many he has then, for who settles his account. */
void tm__job_publish_uncounted(tm__job *job, tm__claim *claim, tm__msg *m,
                               uint64_t records, uint64_t uncounted);

/* Publishes a failure with a text for the first item of a claim. */
void tm__job_publish_failure(tm__job *job, tm__claim *claim, int kind,
                             const char *text);

/* Gives what is left of a claim back, to be claimed again. */
void tm__job_give_back(tm__job *job, tm__claim *claim);

/* Leaves what is left of a claim: it is given back or, as the case may be,
   skipped. */
void tm__job_leave(tm__job *job, tm__claim *claim);

/* Settles items that need no more than that. */
void tm__job_settle(tm__job *job, uint64_t count);

/* Ends a job of which a dead process may have settled items that it did not
   count, if it is over. The owner's thread, or for a job that is no stream
   any of its process. */
void tm__job_audit(tm__job *job);

/* Does what the end of a job needs; for who finds that it was left undone. */
void tm__job_finish(tm__job *job);

/* In the script's process: the monitor need not look at the time limit of a
   job that is done any more. Again does nothing. */
void tm__job_unwatch(tm__job *job);

/* Notes that an item failed: in raise mode nothing above it is begun. */
void tm__job_fail(tm__job *job, uint64_t item);

/* Whether item i should not be run any more. */
static inline bool tm__job_skips(tm__job *job, uint64_t i) {
  /* relaxed: a late look costs one item more, nothing else */
  return i > atomic_load_explicit(&job->fail_at, memory_order_relaxed) ||
         atomic_load_explicit(&job->cancelled, memory_order_relaxed) != 0;
}

/* Stops the job: items that nobody runs are skipped. The caller sees to
   those that run, and holds a reference. kind says why (TM__FAIL_CANCELLED
   ...). The pool's lock must not be held. */
void tm__job_stop(tm__job *job, int kind);

/* Streams, by the owner: room for items now, when so many were taken; one
   more; no more. feed takes the message over; an item for a job that was
   stopped is dropped. */
uint64_t tm__job_room(tm__job *job, uint64_t taken);
void tm__job_feed(tm__job *job, tm__msg *item);
void tm__job_close(tm__job *job);

/* The message whose first record is item i's; NULL when there is none (yet).
   take: it is the caller's now, and the place of item i is free. */
tm__msg *tm__job_results(tm__job *job, uint64_t i);
tm__msg *tm__job_take(tm__job *job, uint64_t i);

/* Wakes whoever waits for the job, to look again. */
void tm__job_tell(tm__job *job);

static inline bool tm__job_done(tm__job *job) {
  return atomic_load(&job->done) != 0;
}

/* The bytes of a packed or streamed item; NULL for other kinds. */
const tm__msg *tm__job_item(tm__job *job, uint64_t i,
                            const unsigned char **bytes,
                            const unsigned char **end);

/* The item's message itself, of a stream. */
tm__msg *tm__job_fed(tm__job *job, uint64_t i);

#endif
