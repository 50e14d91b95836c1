/*
 * hub.h: what a pool of processes shares
 *
 * In the arena, at one address in every process of the runtime: the ring of
 * jobs, and a seat for each worker. No lock is shared. The script's process
 * alone puts jobs into the ring, takes them out and frees them; workers read
 * the ring, and change in jobs what is atomic.
 *
 *   ring    ... 0  job  0  job  job | tail
 *                   ^ first: below it are only jobs that are done
 *
 * A worker may look into a job while its seat holds it: it notes the job in
 * `held`, and looks whether the job is still in the ring. Whoever frees a job
 * takes it out of the ring, and looks whether a seat holds it: one of the two
 * sees the other.
 *
 * A seat also says what its worker does, so that when the worker dies the
 * parent can settle its account (death.h). It is written by the worker alone
 * while `pid` lives, afterwards by the parent.
 */
#ifndef TM_RUN_HUB_H
#define TM_RUN_HUB_H

#include "run/job.h"
#include "store/ledger.h"

enum { TM__RING = 16384 };

/* A table of held jobs doubles. */
enum { TM__OUTGROWN = 28 };

enum tm__mood {
  TM__VACANT,    /* nobody sits here */
  TM__OPENING,   /* makes its state */
  TM__AWAKE,     /* between items */
  TM__PREPARING, /* decodes a job */
  TM__RUNNING,   /* items `first` and up of `job` */
  TM__SPINNING,
  TM__SLEEPING,
  TM__LEAVING /* on its own account: used up, or the pool has ended */
};

/* A job keeps its place in the table for as long as it is held. */
typedef struct tm__held {
  _Atomic(tm__job *) job;
  uint32_t count; /* the worker's own */
} tm__held;

/*
 * Moods but RUNNING and PREPARING leave `job` alone. While RUNNING, `records`
 * are the bytes of a message (its head first) that has the records of items
 * [first, next); it is written before `next` is.
 *
 * settling and finishing are set while the worker does what cannot be told
 * from outside whether it was done: counting items, ending a job.
 */
typedef struct tm__seat {
  _Alignas(64) _Atomic uint32_t mood; /* enum tm__mood */
  _Atomic int32_t pid;
  _Atomic(tm__job *) job;
  _Atomic uint64_t first, next;
  _Atomic(unsigned char *) records;
  _Atomic(tm__key *) keys; /* that they hold, and perhaps one item more */
  _Atomic uint32_t nkeys;
  _Atomic uint64_t deadline; /* tm__now() of the item that runs; 0: none */
  _Atomic(tm__job *) settling;
  _Atomic uint64_t settling_count;
  _Atomic(tm__job *) finishing;
  _Atomic(tm__job *) looked; /* may be gone: not to be read by others */
  _Atomic(tm__held *) held;  /* a table of cap_held; nheld are in use */
  _Atomic uint32_t nheld;
  uint32_t cap_held;
  tm__held *outgrown[TM__OUTGROWN]; /* smaller tables: others may read them */
  _Atomic uint32_t noutgrown;
  _Atomic(struct tm__hub *) hubs; /* of the pools that the process made */
  _Atomic uint64_t done;          /* items, ever */
  tm__ledger *ledger;             /* of the store; made by the parent */
  char crash[1500];               /* a C backtrace, as text (crash.h) */
} tm__seat;

/* What wakes workers, and tells them of the end; of every kind of pool. */
typedef struct tm__bell {
  _Atomic int state;                   /* enum tm__pool_state */
  _Atomic uint32_t epoch;              /* futex: grows when there may be work */
  _Atomic uint32_t sleepers, spinners; /* threads; processes have seats */
  _Atomic uint32_t timed; /* jobs with a time limit that are not done, and
                             places that are missing */
  _Atomic uint32_t left;  /* jobs in the ring, and those that only seats still
                            hold: the script's process is to free them */
} tm__bell;

typedef struct tm__hub {
  tm__bell bell;
  _Atomic(struct tm__hub *) next; /* in tm__seat.hubs */
  int nseats;
  _Atomic uint32_t script_sleeps;      /* waits for a job of ours */
  _Alignas(64) _Atomic uint64_t first; /* for workers, who move it */
  _Atomic uint64_t swept; /* for the script's process: nothing below */
  _Atomic uint64_t tail;
  uint64_t look; /* where tm__hub_done goes on; the pool's lock */
  _Atomic(tm__job *) ring[TM__RING];
  tm__seat seats[];
} tm__hub;

/* NULL without memory. */
tm__hub *tm__hub_new(const tm__mem *arena, int seats);
void tm__hub_free(tm__hub *hub, const tm__mem *arena);

/* The tables of a seat whose worker is gone. */
void tm__seat_free_tables(tm__seat *s, const tm__mem *arena);

/* ---- in a worker process ---- */

/* The pool that this process works for, and its seat; NULL in a script's. */
extern tm__pool *tm__served;
extern tm__seat *tm__served_seat;

/* Shows who settles our account a hub that this process made, until it is taken
   out; do nothing in a script's process. The runtime's lock is held. */
void tm__hub_show(tm__hub *hub);
void tm__hub_hide(tm__hub *hub);

/* A job that can be claimed from, held; NULL. *more: others lie behind it. */
tm__job *tm__hub_next(tm__hub *hub, bool *more);

void tm__seat_hold(tm__seat *s, tm__job *job);
void tm__seat_drop(tm__seat *s, tm__job *job);

/* Notes for who settles our account, where hub is the one that we serve;
   does nothing elsewhere, and for NULL. What the worker tallies (worker.h) is
   noted as well, and stays when the rest was counted: settled. */
void tm__hub_settling(tm__hub *hub, tm__job *job, uint64_t count);
void tm__hub_settled(tm__hub *hub);
void tm__hub_finishing(tm__hub *hub, tm__job *job);
void tm__hub_mood(tm__hub *hub, int mood);

/* The same about the pieces of a worker that has a seat: it decodes a job; it
   runs the piece, whose message was opened, until the end. */
void tm__seat_prepare(const tm__worker *w, tm__job *job);
void tm__seat_begin(tm__piece *p);
void tm__seat_advance(tm__piece *p, uint64_t next);
void tm__seat_end(tm__piece *p);

/* Where a piece of a worker has its records and keys: for a seat they stay
   readable at each moment, also when the memory grows. */
const tm__mem *tm__seat_mem(const tm__worker *w);

/* ---- in the script's process ---- */

/* Puts a job at the tail, or takes it out; the pool's lock is held. False
   when the ring is full; when it was not in it. */
bool tm__hub_put(tm__hub *hub, tm__job *job);
bool tm__hub_remove(tm__hub *hub, tm__job *job);

/* The first job in the ring that is done, NULL; and brings those in front
   that were overtaken by very many. The pool's lock is held. */
tm__job *tm__hub_done(tm__hub *hub);

/* A job in the ring, NULL: there is none. The pool's lock is held. */
tm__job *tm__hub_first(tm__hub *hub);

/* Audits the jobs in the ring that need it, but for streams, which are their
   owner's to audit. Whether some of them go on. The pool's lock is held. */
bool tm__hub_audit(tm__hub *hub);

/* Wakes whoever waits for a job in the ring. The pool's lock is held. */
void tm__hub_tell(tm__hub *hub);

/* Whether a seat holds a job. The pool's lock is held. */
bool tm__hub_holds(tm__hub *hub, tm__job *job);

/* ---- in both ---- */

/* Whether every job in the ring is done. */
bool tm__hub_empty(tm__hub *hub);

/* How many workers are in a mood. */
uint32_t tm__hub_count(tm__hub *hub, uint32_t mood);

/* Processes of the pool that have work for a CPU, the script's with them. */
int tm__hub_awake(tm__hub *hub);

#endif
