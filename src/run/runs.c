#include "run/runs.h"

/*
 * A tag: bit 0 set (messages are aligned), the state in bits 1 to 3. FREE:
 * the item's number above them. Others: worker (12 bits; of AGAIN in a
 * stream, which turn of its place this is), tries (12 bits; no more are
 * counted), count (36 bits).
 */
enum { WORKER_AT = 4, TRIES_AT = 16, COUNT_AT = 28 };

#define FIELD ((uint64_t)0xfff)
#define COUNT_MAX (UINT64_MAX >> COUNT_AT)

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t tag(int state, uint64_t worker, uint64_t tries,
                    uint64_t count) {
  return 1 | (uint64_t)state << 1 | (worker & FIELD) << WORKER_AT |
         min_u64(tries, FIELD) << TRIES_AT |
         min_u64(count, COUNT_MAX) << COUNT_AT;
}

/* The word of an item that nobody had. */
static uint64_t free_word(const tm__job *job, uint64_t i) {
  return job->spec.window ? 1 | i << WORKER_AT : 0;
}

tm__run tm__runs_read(uint64_t word) {
  if (!word) return (tm__run){.state = TM__RUN_FREE};
  if (!(word & 1))
    return (tm__run){.state = TM__RUN_SETTLED,
                     .msg = (tm__msg *)(uintptr_t)word};
  return (tm__run){.state = (int)(word >> 1 & 7),
                   .worker = (uint32_t)(word >> WORKER_AT & FIELD),
                   .tries = (uint32_t)(word >> TRIES_AT & FIELD),
                   .count = word >> COUNT_AT};
}

/* ---- the word of a run that was given back ---- */

/* A place of a stream is used again and again. */
static uint64_t turn_of(const tm__job *job, uint64_t i) {
  return job->spec.window && job->nwords ? i / job->nwords & FIELD : 0;
}

static bool is_again(const tm__job *job, uint64_t i, uint64_t word) {
  tm__run r = tm__runs_read(word);
  return r.state == TM__RUN_AGAIN && r.worker == turn_of(job, i);
}

/* ---- where to look for such runs ---- */

enum { CHANGES_AT = 40 };

#define PLACE (((uint64_t)1 << CHANGES_AT) - 1)

/* Says that the run at i was given back: after its word was written. */
static void note_again(tm__job *job, uint64_t i) {
  uint64_t seen = atomic_load(&job->again), to;
  do {
    uint64_t place = seen & PLACE;
    if (!place || i + 1 < place) place = i + 1;
    to = ((seen >> CHANGES_AT) + 1) << CHANGES_AT | place;
  } while (!atomic_compare_exchange_weak(&job->again, &seen, to));
}

/* Moves the begin of the search up, unless something was given back since
   it was `seen`. */
static bool move_again(tm__job *job, uint64_t seen, uint64_t place) {
  uint64_t to = (seen & ~PLACE) | place;
  return atomic_compare_exchange_strong(&job->again, &seen, to);
}

/* ---- claiming ---- */

bool tm__job_claimable(tm__job *job) {
  return (atomic_load(&job->again) & PLACE) ||
         atomic_load(&job->next) < atomic_load(&job->limit);
}

bool tm__job_exhausted(tm__job *job) {
  return atomic_load(&job->closed) && !tm__job_claimable(job);
}

/* Takes the first run that was given back, whole. */
static bool take_again(tm__job *job, int state, uint32_t worker,
                       tm__claim *out) {
  for (;;) {
    uint64_t hint = atomic_load(&job->again);
    uint64_t next = atomic_load(&job->next);
    if (!(hint & PLACE)) return false;
    for (uint64_t i = (hint & PLACE) - 1; i < next; i++) {
      _Atomic uint64_t *word = tm__runs_word(job, i);
      uint64_t seen = atomic_load(word);
      if (!is_again(job, i, seen)) continue;
      tm__run r = tm__runs_read(seen);
      if (!atomic_compare_exchange_strong(word, &seen,
                                          tag(state, worker, r.tries, r.count)))
        continue;
      move_again(job, hint, i + 2);
      *out = (tm__claim){i, i + r.count, r.tries, worker};
      return true;
    }
    if (move_again(job, hint, 0)) return false;
  }
}

static bool claim_again(tm__job *job, uint64_t most, uint32_t worker,
                        tm__claim *out) {
  tm__claim rest;
  if (!take_again(job, TM__RUN_CLAIMED, worker, out)) return false;
  if (out->last - out->first <= most) return true;
  tm__runs_split(job, out, out->first + most, &rest);
  tm__runs_give_back(job, &rest);
  return true;
}

/* Others may have moved it on already. */
static void move_next(tm__job *job, uint64_t from, uint64_t to) {
  atomic_compare_exchange_strong(&job->next, &from, to);
}

/* Somebody has the run at `next`; answers where it is by now. */
static uint64_t help(tm__job *job, uint64_t next, uint64_t word) {
  tm__run r = tm__runs_read(word);
  if (r.state == TM__RUN_CLAIMED || r.state == TM__RUN_SKIPPED)
    move_next(job, next, next + r.count);
  return atomic_load(&job->next);
}

/* Takes items that nobody had; workers 0: all that there are. */
static bool take_fresh(tm__job *job, int state, uint64_t most, int workers,
                       tm__claim *out) {
  uint64_t next = atomic_load(&job->next);
  for (;;) {
    uint64_t limit = atomic_load(&job->limit);
    if (next >= limit) return false;
    uint64_t count = min_u64(min_u64(most, limit - next), COUNT_MAX);
    if (!job->spec.chunk && workers)
      count = min_u64(count, (limit - next) / (2 * (uint64_t)workers) + 1);
    _Atomic uint64_t *word = tm__runs_word(job, next);
    uint64_t seen = free_word(job, next);
    if (atomic_compare_exchange_strong(word, &seen,
                                       tag(state, out->worker, 0, count))) {
      move_next(job, next, next + count);
      out->first = next;
      out->last = next + count;
      out->tries = 0;
      return true;
    }
    next = help(job, next, seen);
  }
}

bool tm__job_claim(tm__job *job, uint64_t most, int workers, uint32_t worker,
                   tm__claim *out) {
  out->worker = worker;
  if (atomic_load(&job->again) & PLACE && claim_again(job, most, worker, out))
    return true;
  return take_fresh(job, TM__RUN_CLAIMED, most, workers, out);
}

uint64_t tm__runs_skip(tm__job *job, bool again) {
  tm__claim c = {.worker = 0};
  uint64_t skipped = 0;
  while (again && take_again(job, TM__RUN_SKIPPED, 0, &c))
    skipped += c.last - c.first;
  while (take_fresh(job, TM__RUN_SKIPPED, UINT64_MAX, 0, &c))
    skipped += c.last - c.first;
  return skipped;
}

void tm__runs_feed(tm__job *job, uint64_t i) {
  atomic_store(tm__runs_word(job, i), free_word(job, i));
  atomic_store(&job->limit, i + 1);
}

/* ---- what becomes of a claim ---- */

static void write_tag(tm__job *job, uint64_t i, int state, const tm__claim *c,
                      uint64_t count) {
  atomic_store(tm__runs_word(job, i), tag(state, c->worker, c->tries, count));
}

void tm__runs_settle(tm__job *job, tm__claim *c, tm__msg *m, uint64_t records,
                     uint64_t count) {
  uint64_t first = c->first;
  c->first += count;
  if (c->first < c->last)
    write_tag(job, c->first, TM__RUN_CLAIMED, c, c->last - c->first);
  if (m && records < count)
    write_tag(job, first + records, TM__RUN_SKIPPED, c, count - records);
  if (m)
    atomic_store(tm__runs_word(job, first), (uint64_t)(uintptr_t)m);
  else
    write_tag(job, first, TM__RUN_SKIPPED, c, count);
}

void tm__runs_empty(tm__job *job, uint64_t i) {
  atomic_store(&job->words[i], tag(TM__RUN_SKIPPED, 0, 0, 1));
}

void tm__runs_give_back(tm__job *job, const tm__claim *c) {
  uint64_t i = c->first;
  atomic_store(tm__runs_word(job, i),
               tag(TM__RUN_AGAIN, turn_of(job, i), c->tries, c->last - i));
  note_again(job, i);
}

void tm__runs_split(tm__job *job, tm__claim *c, uint64_t at, tm__claim *tail) {
  *tail = *c;
  tail->first = at;
  write_tag(job, at, TM__RUN_CLAIMED, tail, tail->last - at);
  c->last = at;
}

/* ---- looking through all runs ---- */

/* The end of the run at i that has at most `count` items. */
static uint64_t end_of(tm__job *job, uint64_t i, uint64_t count) {
  uint64_t end = i + 1;
  while (end < i + count &&
         tm__runs_read(atomic_load(tm__runs_word(job, end))).state ==
             TM__RUN_FREE)
    end++;
  return end;
}

void tm__runs_each(tm__job *job, uint32_t worker,
                   void (*found)(tm__job *, tm__claim *, void *),
                   void *argument) {
  uint64_t limit = atomic_load(&job->limit), i = 0;
  uint64_t places = job->nwords ? job->nwords : 1;
  if (job->spec.window && limit > places) i = limit - places;
  if (i < limit) note_again(job, i);
  for (; i < limit && i <= atomic_load(&job->next); i++) {
    tm__run r = tm__runs_read(atomic_load(tm__runs_word(job, i)));
    if (r.state != TM__RUN_CLAIMED || r.worker != worker) continue;
    move_next(job, i, i + r.count);
    tm__claim c = {i, end_of(job, i, r.count), r.tries, worker};
    found(job, &c, argument);
    i = c.last - 1;
  }
}

uint64_t tm__runs_settled(tm__job *job, uint64_t from) {
  uint64_t limit = atomic_load(&job->limit), i = from;
  while (i < limit) {
    tm__run r = tm__runs_read(atomic_load(tm__runs_word(job, i)));
    if (r.state == TM__RUN_SETTLED)
      i += r.msg->count;
    else if (r.state == TM__RUN_SKIPPED)
      i += r.count;
    else
      break;
  }
  return i - from;
}
