/*
 * runs.h: who has which items of a job
 *
 * A job has a word for each item (a stream for each place of its window).
 * Its items fall into runs, and the word of a run's first item says how
 * things stand with it; the others of the run are FREE.
 *
 *   FREE      0, or in a stream the number of the item: nobody had it yet
 *   CLAIMED   a worker has it, of such an index, after so many tries
 *   AGAIN     a worker had it and gave it back
 *   SKIPPED   settled, without results
 *   otherwise the address of the message of its results: settled
 *
 * FREE -> CLAIMED, AGAIN -> CLAIMED and FREE -> SKIPPED are one
 * compare-and-swap, by anybody. A CLAIMED run is changed by its owner alone
 * (or by who settles the account of a dead one), with plain stores, and only
 * split: a run ends where the next word begins that is not FREE, so that a
 * word written inside is what splits it. Whoever is killed between two
 * stores leaves words that still say whose each run is.
 *
 * `next` is where the unclaimed items begin. It is moved after its word was
 * claimed, and by anybody: the word says how far. Before the owner has moved
 * it he does nothing else to the run.
 *
 * `again` says where a search for AGAIN runs is to begin: position + 1 (0:
 * there are none) below a count of its changes, so that a search that found
 * nothing does not hide what was given back behind it.
 */
#ifndef TM_RUN_RUNS_H
#define TM_RUN_RUNS_H

#include "run/job.h"

enum tm__runs_state {
  TM__RUN_FREE,
  TM__RUN_CLAIMED,
  TM__RUN_AGAIN,
  TM__RUN_SKIPPED,
  TM__RUN_SETTLED
};

/* A word, read. */
typedef struct tm__run {
  int state;       /* enum tm__runs_state; SETTLED: msg */
  uint32_t worker; /* of CLAIMED */
  uint32_t tries;
  uint64_t count; /* of tags: items, at most */
  tm__msg *msg;
} tm__run;

tm__run tm__runs_read(uint64_t word);

/* More workers than this cannot be told apart in a word. */
#define TM__RUN_WORKERS 4095

/* The word of item i. */
static inline _Atomic uint64_t *tm__runs_word(tm__job *job, uint64_t i) {
  return &job->words[job->nwords ? i % job->nwords : 0];
}

/* Whether a worker could claim something now; and ever again. */
bool tm__job_claimable(tm__job *job);
bool tm__job_exhausted(tm__job *job);

/* Claims at most `most` items (at least 1, with a fair share left to the
   others when the job's chunk is measured). False when there are none. */
bool tm__job_claim(tm__job *job, uint64_t most, int workers, uint32_t worker,
                   tm__claim *out);

/* Makes item i of a stream claimable. */
void tm__runs_feed(tm__job *job, uint64_t i);

/* By the owner of a claim: what becomes of the run at claim->first. The words
   behind it are written before. */
void tm__runs_settle(tm__job *job, tm__claim *claim, tm__msg *m,
                     uint64_t records, uint64_t count);
void tm__runs_give_back(tm__job *job, const tm__claim *claim);

/* Makes [at, claim->last) a claim of its own. */
void tm__runs_split(tm__job *job, tm__claim *claim, uint64_t at,
                    tm__claim *tail);

/* The results of the run at i are gone: its word is not FREE again, for a worker
   may be about to claim from there what it saw before. */
void tm__runs_empty(tm__job *job, uint64_t i);

/* Skips what nobody claimed; with `again`, what was given back too. Answers
   how many items that were. */
uint64_t tm__runs_skip(tm__job *job, bool again);

/* Calls found(job, claim, argument) for each run that the worker has; for who
   settles the account of a dead one. What it gave back without a note is
   found again, too. */
void tm__runs_each(tm__job *job, uint32_t worker,
                   void (*found)(tm__job *, tm__claim *, void *),
                   void *argument);

/* How many items from `from` on are settled in a row. */
uint64_t tm__runs_settled(tm__job *job, uint64_t from);

#endif
