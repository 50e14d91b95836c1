/*
 * stint.c: a worker at a job, from the first claim to the last
 *
 * A stint takes claim after claim of the job's items, and does each in one
 * piece, or item by item where these have time limits or may be tried again.
 * Its one tm__piece is given items again and again. A guest asks for the next
 * ones itself (tm__piece_renew): what it has set up to run items serves for
 * all of a stint, for an item may be shorter than that takes.
 */
#include <stdio.h>

#include "run/batch.h"
#include "run/piece.h"
#include "run/pool.h"
#include "run/process.h"
#include "run/runs.h"
#include "run/runtime.h"

/*
 * How many items to claim when the job does not say: few at first, then as
 * many as take about CLAIM_NS by the measure of the last claim, growing at
 * most eightfold. A claim that takes longer than UNTIL_NS by the coarse clock
 * gives its rest back, so that a wrong guess costs one item, not a claim.
 */
enum { CLAIM_NS = 200000, UNTIL_NS = 8000000 };

/* Published items that may wait to be counted. */
enum { TALLY_MOST = 32 };

typedef struct stint {
  tm__piece piece; /* first: the guest knows no more of us */
  tm__claim claim; /* what is left of it; empty: none */
  uint64_t size;   /* that it had */
  uint64_t began;  /* tm__now() at the claim; of jobs that are measured */
  uint64_t fit;    /* items that the next claim should have: the same */
  tm__msg *item;   /* of a stream: the one that runs, with a reference */
  bool lost;       /* the worker was abandoned: nothing here is ours */
} stint;

/* ---- claims ---- */

static void pace(stint *s) {
  uint64_t each = (tm__now() - s->began) / s->size + 1;
  uint64_t fit = CLAIM_NS / each;
  if (fit > s->size * 8) fit = s->size * 8;
  s->fit = fit ? fit : 1;
}

/* How many items may be claimed: by their cost, and by what the worker has
   left before it is renewed. */
static uint64_t claim_size(const stint *s) {
  const tm__worker *w = s->piece.worker;
  uint64_t chunk = s->piece.job->spec.chunk, limit = w->pool->max_items;
  uint64_t most = chunk ? chunk : s->fit;
  if (limit && limit - w->items < most) most = limit - w->items;
  return most ? most : 1;
}

static bool must_stop(const tm__worker *w) {
  return tm__worker_must_unwind() || (w->until && tm__now() >= w->until);
}

static bool take_claim(stint *s) {
  tm__worker *w = s->piece.worker;
  tm__job *job = s->piece.job;
  tm__process_check_parent();
  if (must_stop(w) || !tm__job_claim(job, claim_size(s), w->pool->nworkers,
                                     (uint32_t)w->index, &s->claim))
    return false;
  s->size = s->claim.last - s->claim.first;
  if (!job->spec.chunk) s->began = tm__now();
  return true;
}

static bool has_claim(const stint *s) { return s->claim.first < s->claim.last; }

static void end_claim(stint *s) {
  if (!s->piece.job->spec.chunk) pace(s);
  s->piece.worker->items += s->size;
}

static bool used_up(const stint *s) {
  tm__worker *w = s->piece.worker;
  tm__pool *pool = w->pool;
  if (s->piece.outer) return false; /* a task waits here for its own job */
  if (pool->max_items && w->items >= pool->max_items) return true;
  return pool->max_memory && pool->guest->memory(w) > pool->max_memory;
}

/* Gives the first item of a claim back, as one that was tried. */
static void try_again(tm__job *job, tm__claim *claim) {
  tm__claim rest = {.first = claim->last, .last = claim->last};
  if (claim->first + 1 < claim->last)
    tm__runs_split(job, claim, claim->first + 1, &rest);
  claim->tries++;
  tm__job_give_back(job, claim);
  *claim = rest;
}

static void fail_claim(stint *s, const char *text) {
  while (has_claim(s))
    tm__job_publish_failure(s->piece.job, &s->claim, TM__FAIL_TASK, text);
}

/* ---- publishing ---- */

/* Walks the records of a piece and notes its failures. */
static void note_failures(tm__piece *p) {
  const unsigned char *at = p->out.data + sizeof(tm__msg);
  const unsigned char *end = p->out.data + p->out.len;
  tm__record r;
  for (uint64_t i = p->first; i < p->next; i++) {
    if (!tm__record_read(&at, end, &r)) return;
    if (r.tag != TM__REC_OK) tm__job_fail(p->job, i);
    at += r.len;
  }
}

/* Counts what was published. Before the worker waits for anything, or leaves
   the job. */
static void count_tally(tm__worker *w) {
  uint64_t count = atomic_exchange(&w->tally, 0);
  if (count) tm__job_settle(w->tallied, count);
}

/* Small pieces are counted together, but not later than the next tick. */
static void tally(tm__worker *w, tm__job *job, tm__claim *claim, tm__msg *m,
                  uint64_t records) {
  uint64_t now = tm__now_coarse();
  uint64_t count = atomic_fetch_add(&w->tally, records) + records;
  w->tallied = job;
  tm__job_publish_uncounted(job, claim, m, records, count);
  if (count < TALLY_MOST && now == w->tallied_at) return;
  w->tallied_at = now;
  count_tally(w);
}

static void publish(tm__piece *p, tm__claim *claim) {
  tm__worker *w = p->worker;
  uint64_t records = p->next - p->first;
  if (!records) return;
  note_failures(p);
  tm__msg *m = tm__msg_seal(&p->out, &p->keys);
  if (w->tallied != p->job) count_tally(w);
  tally(w, p->job, claim, m, records);
}

/* ---- pieces ---- */

/* The one item of a timed piece failed by its time limit, and may be tried
   again. */
static bool may_try_again(const tm__piece *p) {
  const tm__spec *spec = &p->job->spec;
  tm__record r;
  if (!spec->retries || p->tries >= spec->retries) return false;
  if (p->next != p->first + 1) return false;
  const unsigned char *at = p->out.data + sizeof(tm__msg);
  if (!tm__record_read(&at, p->out.data + p->out.len, &r)) return false;
  return r.tag != TM__REC_OK && r.kind == TM__FAIL_TIMEOUT;
}

/* The message of the one item of a piece of a stream, with a reference: its
   place is used again when the item has failed for a worker that is stuck.
   A process that is stuck is killed. */
static tm__msg *hold_item(const tm__piece *p) {
  if (p->job->items.kind != TM__ITEMS_STREAM || p->last - p->first > 1)
    return NULL;
  tm__msg *m = p->job->hub ? NULL : tm__job_fed(p->job, p->first);
  return m ? tm__msg_ref(m) : NULL;
}

static uint64_t deadline_of(const tm__job *job) {
  if (!job->spec.timeout) return 0;
  return job->batch ? job->batch->deadline : tm__now() + job->spec.timeout;
}

/* Gives the piece the next items of the claim; false when nothing of it is to
   be run. */
static bool begin_piece(stint *s) {
  tm__piece *p = &s->piece;
  const tm__spec *spec = &p->job->spec;
  uint64_t last =
      spec->timeout || spec->retries ? s->claim.first + 1 : s->claim.last;
  bool leaves = !spec->chunk && last - s->claim.first > 1;
  tm__piece_show(p, &s->claim, last, deadline_of(p->job));
  p->until = leaves ? tm__now_coarse() + UNTIL_NS : 0;
  s->item = hold_item(p);
  if (!tm__msg_open(&p->out)) return false;
  tm__seat_begin(p);
  /* Whoever cancels says so before he looks who runs. */
  return !atomic_load(&p->job->cancelled);
}

/* What the piece did is published, and what is left of a claim that it did
   not end is left to others. */
static void end_items(stint *s) {
  tm__piece *p = &s->piece;
  uint64_t first = p->first;
  if (may_try_again(p))
    try_again(p->job, &s->claim);
  else
    publish(p, &s->claim);
  if (s->claim.first == first && !tm__job_skips(p->job, first) &&
      !tm__worker_must_unwind())
    tm__job_publish_failure(p->job, &s->claim, TM__FAIL_TASK,
                            "not enough memory to run the item");
  if (s->claim.first != p->last || tm__job_skips(p->job, s->claim.first))
    tm__job_leave(p->job, &s->claim);
}

static void let_go(stint *s) {
  tm__piece *p = &s->piece;
  tm__pool *pool = p->worker->pool;
  tm__msg_unref(s->item, pool->mem, pool->rt->store);
  s->item = NULL;
  tm__keys_term(&p->keys, pool->rt->store);
  tm__buf_term(&p->out);
}

/* False when the stint is over. */
static bool end_piece(stint *s) {
  tm__piece *p = &s->piece;
  if (!p->shown) return !s->lost;
  tm__piece_release_children(p);
  s->lost = !tm__piece_hide(p);
  if (!s->lost) end_items(s);
  tm__seat_end(p);
  let_go(s);
  if (s->lost) return false;
  if (!has_claim(s)) end_claim(s);
  return true;
}

static bool next_items(stint *s) {
  return has_claim(s) || (!used_up(s) && take_claim(s));
}

bool tm__piece_renew(tm__piece *p) {
  stint *s = (stint *)p;
  return end_piece(s) && next_items(s) && begin_piece(s);
}

static void run(tm__piece *p) {
  if (p->job->batch)
    tm__batch_run(p);
  else
    p->worker->pool->guest->run(p);
}

/* ---- stints ---- */

/* Until there is nothing to claim, or the worker is to do something else. */
static void run_pieces(stint *s) {
  tm__piece_push(&s->piece);
  do {
    if (begin_piece(s)) run(&s->piece);
  } while (end_piece(s) && next_items(s));
  tm__piece_pop(&s->piece);
}

/* Whether an item of the job waits further out on this worker. */
static bool goes_on(const tm__worker *w, const tm__job *job) {
  const tm__piece *p = w->piece;
  while (p && p->job != job) p = p->outer;
  return p != NULL;
}

static void run_job(tm__worker *w, tm__job *job) {
  stint s = {.piece = {.worker = w, .job = job}, .fit = 1};
  tm__buf_init(&s.piece.out, tm__seat_mem(w));
  tm__keys_init(&s.piece.keys, tm__seat_mem(w));
  while (take_claim(&s)) {
    if (!s.piece.context) s.piece.context = tm__worker_prepare(w, job);
    if (!s.piece.context) {
      fail_claim(&s, "not enough memory to prepare the task");
      continue;
    }
    run_pieces(&s);
    if (s.lost) return;
    if (used_up(&s)) {
      s.piece.context = NULL;
      if (!tm__worker_renew(w)) return;
    }
  }
  if (s.piece.context && tm__job_exhausted(job) && !job->spec.retries &&
      !goes_on(w, job))
    tm__worker_forget(w, job);
}

void tm__worker_run(tm__worker *w, tm__job *job) {
  tm__job_ref(job); /* its end may be what we count */
  run_job(w, job);
  count_tally(w);
  tm__job_unref(job);
}

/* ---- a worker that is stuck ---- */

/* Ends a claim whose worker is lost while it ran item `stuck`: that one fails,
   or is tried again; the others are left to others, with those before it,
   whose records are lost. */
static void lose_claim(tm__worker *w, const tm__piece *p, uint64_t stuck,
                       int kind) {
  char text[160];
  tm__job *job = p->job;
  tm__claim before = {p->first, p->claim_last, p->tries, (uint32_t)w->index};
  tm__claim item = before, after = {.first = 0};
  if (stuck + 1 < before.last) tm__runs_split(job, &item, stuck + 1, &after);
  before.last = item.last;
  if (stuck > before.first) tm__runs_split(job, &before, stuck, &item);
  snprintf(text, sizeof text,
           "did not return from C code in time; its %s was given up",
           w->pool->kind->name);
  if (stuck > p->first) tm__job_leave(job, &before);
  tm__job_leave(job, &after);
  if (p->tries < job->spec.retries)
    try_again(job, &item);
  else
    tm__job_publish_failure(job, &item, kind, text);
}

/* It may have run all items of the piece, and not said so yet. */
static void abandon_piece(tm__worker *w, tm__piece *p) {
  uint64_t stuck = atomic_load(&p->next);
  if (!p->shown) return;
  if (stuck >= p->last) stuck = p->last - 1;
  uint32_t why = atomic_load(&p->job->cancelled);
  atomic_store(&p->job->lost, 1);
  lose_claim(w, p, stuck, why ? (int)why : TM__FAIL_TIMEOUT);
}

void tm__worker_abandon(tm__worker *w) {
  tm__pool_ref(w->pool);
  w->abandoned = true;
  w->alive = false;
  for (tm__piece *p = w->piece; p; p = p->outer) abandon_piece(w, p);
  count_tally(w);
}
