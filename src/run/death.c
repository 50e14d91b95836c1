/*
 * death.c: the account of a worker process that is gone
 *
 * All that it had is in words that it wrote itself: its seat, its runs in the
 * jobs that it held, its ledger. What it was in the middle of is told from
 * them (runs.h, hub.h), and ended here.
 */
#include <stdio.h>
#include <string.h>

#include "run/inbox.h"
#include "run/pool.h"
#include "run/process.h"
#include "run/runs.h"
#include "run/runtime.h"

typedef struct death {
  tm__worker *worker;
  const tm__seat *seat;
  const char *how; /* NULL: on its own account */
  int kind;        /* enum tm__kind of the item that it ran */
} death;

/* ---- results that were made and not published ---- */

/* The end of `count` records; NULL when they are not all there. */
static const unsigned char *end_of(const unsigned char *at,
                                   const unsigned char *end, uint64_t count) {
  tm__record r;
  while (count--) {
    if (!tm__record_read(&at, end, &r)) return NULL;
    at += r.len;
  }
  return at;
}

/* The counts on keys that the records may name, for the new message; the dead
   worker's own are in its ledger. */
static bool hold_keys(const death *d, tm__keys *keys, tm__store *store) {
  const tm__key *list = atomic_load(&d->seat->keys);
  uint32_t n = atomic_load(&d->seat->nkeys);
  for (uint32_t i = 0; list && i < n; i++)
    if (tm__keys_hold(keys, store, list[i]) == TM_ENOMEM) return false;
  return true;
}

/* A message of the records of `count` items; NULL without memory. */
static tm__msg *recover(const death *d, uint64_t count) {
  tm__pool *pool = d->worker->pool;
  const unsigned char *from = atomic_load(&d->seat->records);
  if (!from) return NULL;
  const unsigned char *end = from + tm__arena_block_size(pool->rt->arena, from);
  const unsigned char *last = end_of(from + sizeof(tm__msg), end, count);
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  tm__buf_init(&b, pool->mem);
  tm__keys_init(&keys, pool->mem);
  from += sizeof(tm__msg);
  if (last && tm__msg_open(&b) && hold_keys(d, &keys, pool->rt->store) &&
      tm__buf_put(&b, from, (size_t)(last - from)))
    m = tm__msg_seal(&b, &keys);
  tm__keys_term(&keys, pool->rt->store);
  tm__buf_term(&b);
  return m;
}

static void note_failures(tm__job *job, const tm__msg *m, uint64_t first,
                          uint64_t count) {
  const unsigned char *at = tm__msg_bytes(m);
  tm__record r;
  for (uint64_t i = first; i < first + count; i++) {
    if (!tm__record_read(&at, tm__msg_bytes(m) + m->len, &r)) return;
    if (r.tag != TM__REC_OK) tm__job_fail(job, i);
    at += r.len;
  }
}

static void publish_made(const death *d, tm__job *job, tm__claim *c) {
  uint64_t count = atomic_load(&d->seat->next) - c->first;
  if (!count || count > c->last - c->first) return;
  tm__msg *m = recover(d, count);
  if (!m) return;
  note_failures(job, m, c->first, count);
  tm__job_publish(job, c, m, count, count);
}

/* The buffer and the list of a piece that was not published. */
static void free_unpublished(const death *d) {
  const tm__mem *mem = d->worker->pool->mem;
  tm__free(mem, atomic_load(&d->seat->records));
  tm__free(mem, atomic_load(&d->seat->keys));
}

/* ---- runs ---- */

static bool was_running(const death *d, const tm__job *job) {
  uint32_t mood = atomic_load(&d->seat->mood);
  return (mood == TM__RUNNING || mood == TM__PREPARING) &&
         atomic_load(&d->seat->job) == job;
}

/* The first item of the claim is what it died of. */
static void fail_item(const death *d, tm__job *job, tm__claim *c) {
  tm__claim rest = {.first = c->last, .last = c->last};
  uint32_t why = atomic_load(&job->cancelled);
  if (c->first + 1 < c->last) tm__runs_split(job, c, c->first + 1, &rest);
  if (c->tries < job->spec.retries && !why) {
    c->tries++;
    tm__job_give_back(job, c);
  } else {
    tm__job_publish_failure(job, c, why ? (int)why : d->kind, d->how);
  }
  *c = rest;
}

static void settle_run(tm__job *job, tm__claim *c, void *argument) {
  const death *d = argument;
  bool running = was_running(d, job);
  if (running && atomic_load(&d->seat->mood) == TM__RUNNING &&
      atomic_load(&d->seat->first) == c->first) {
    publish_made(d, job, c);
    free_unpublished(d);
  }
  if (running && d->how && c->first < c->last && !tm__job_skips(job, c->first))
    fail_item(d, job, c);
  tm__job_leave(job, c);
}

/* ---- what cannot be told from outside ---- */

/* It was about to count items that it had settled. */
static void settle_count(const death *d) {
  tm__job *job = atomic_load(&d->seat->settling);
  if (!job) return;
  atomic_fetch_add(&job->slack, atomic_load(&d->seat->settling_count));
  if (!job->spec.window) tm__job_audit(job);
  atomic_store(&d->worker->pool->doubtful, 1);
  tm__job_tell(job);
}

/* It was about to say that a job is done. */
static void settle_end(const death *d) {
  tm__job *job = atomic_load(&d->seat->finishing);
  if (!job) return;
  if (!atomic_load(&job->ended)) {
    tm__job_finish(job);
  } else if (!tm__job_done(job)) {
    if (job->inbox) tm__inbox_suspect(job->inbox, job);
    atomic_store(&job->done, 1);
  }
  tm__job_tell(job); /* it may have died before it did */
}

/* ---- the seat ---- */

/* What it gave back, or was about to, of a job that was stopped. */
static void skip_stopped(tm__job *job) {
  if (!atomic_load(&job->stopped) || tm__job_done(job)) return;
  tm__job_stop(job, (int)atomic_load(&job->cancelled));
}

static void settle_jobs(death *d) {
  tm__held *held = atomic_load(&d->seat->held);
  uint32_t n = atomic_load(&d->seat->nheld);
  for (uint32_t i = 0; i < n; i++) {
    tm__job *job = atomic_load(&held[i].job);
    if (!job || tm__job_done(job)) continue;
    tm__runs_each(job, (uint32_t)d->worker->index, settle_run, d);
    skip_stopped(job);
  }
}

static void vacate(tm__seat *s) {
  atomic_store(&s->looked, NULL);
  atomic_store(&s->nheld, 0);
  s->cap_held = 0;
  atomic_store(&s->settling, NULL);
  atomic_store(&s->finishing, NULL);
  atomic_store(&s->job, NULL);
  atomic_store(&s->records, NULL);
  atomic_store(&s->keys, NULL);
  atomic_store(&s->deadline, 0);
  atomic_store(&s->pid, 0);
  s->ledger = NULL;
  atomic_store(&s->mood, TM__VACANT);
}

/* Whoever asks what seats hold has the lock. */
static void leave_seat(tm__pool *pool, tm__seat *s) {
  pthread_mutex_lock(&pool->lock);
  vacate(s);
  tm__seat_free_tables(s, pool->mem);
  pthread_mutex_unlock(&pool->lock);
}

void tm__death_settle(tm__worker *w, const char *how, int kind) {
  tm_runtime *rt = w->pool->rt;
  death d = {.worker = w, .seat = w->seat, .how = how, .kind = kind};
  bool opening = atomic_load(&w->seat->mood) == TM__OPENING;
  w->pool->stillborn = opening && how ? w->pool->stillborn + 1 : 0;
  if (opening && how)
    snprintf(w->pool->last_words, sizeof w->pool->last_words, "%s", how);
  /* What the script wrote of its jobs came to us by way of the dead worker,
     which is no order between two threads: the lock of the queue is. */
  pthread_mutex_lock(&w->pool->lock);
  pthread_mutex_unlock(&w->pool->lock);
  settle_jobs(&d);
  settle_count(&d);
  settle_end(&d);
  tm__arena_settle(rt->arena, w->pid);
  tm__store_settle(rt->store, w->seat->ledger);
  tm__orphans_settle(rt, w->seat);
  leave_seat(w->pool, w->seat);
  tm__pool_wake_all(w->pool);
}
