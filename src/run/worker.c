#include "run/worker.h"

#include <stdio.h>
#include <string.h>

#include "run/batch.h"
#include "run/pool.h"
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

typedef struct pacer {
  uint64_t count;
} pacer;

static void pace(pacer *p, uint64_t items, uint64_t ns) {
  uint64_t each = ns / (items ? items : 1) + 1;
  uint64_t fit = CLAIM_NS / each;
  if (fit > p->count * 8) fit = p->count * 8;
  p->count = fit ? fit : 1;
}

/* The innermost piece on this thread, of whichever worker. */
static _Thread_local tm__piece *innermost;

static void set_opening(tm__worker *w, bool opening) {
  pthread_mutex_lock(&w->lock);
  w->opening = opening;
  pthread_mutex_unlock(&w->lock);
}

bool tm__worker_open(tm__worker *w) {
  tm_error e = {.text = ""};
  w->uid = tm__runtime_uid(w->pool->rt);
  w->items = 0;
  set_opening(w, true);
  int status = w->pool->guest->open(w, &w->state, &e);
  set_opening(w, false);
  w->short_of_memory = status == TM_ENOMEM;
  if (status == TM_OK) return true;
  w->state = NULL;
  tm__pool_break(w->pool, &e);
  return false;
}

static void drop(tm__worker *w, int i) {
  tm__prepared p = w->prepared[i];
  w->prepared[i] = w->prepared[--w->nprepared];
  if (p.job->batch)
    tm__batch_leave(w, p.context);
  else
    w->pool->guest->leave(w, p.context);
  tm__job_unref(p.job);
}

void tm__worker_close(tm__worker *w) {
  while (w->nprepared) drop(w, w->nprepared - 1);
  tm__free(&w->pool->rt->mem, w->prepared);
  w->prepared = NULL;
  w->cap_prepared = 0;
  if (w->state) w->pool->guest->close(w, w->state);
  w->state = NULL;
}

void tm__worker_tidy(tm__worker *w) {
  for (int i = w->nprepared - 1; i >= 0; i--)
    if (tm__job_done(w->prepared[i].job)) drop(w, i);
}

bool tm__worker_rest(tm__worker *w) {
  bool live = true;
  for (int i = 0; i < w->nprepared; i++) {
    tm__job *job = w->prepared[i].job;
    atomic_fetch_add(&job->resting, 1); /* before we look whether it is done */
    if (tm__job_done(job)) live = false;
  }
  return live;
}

void tm__worker_rise(tm__worker *w) {
  for (int i = 0; i < w->nprepared; i++)
    atomic_fetch_sub(&w->prepared[i].job->resting, 1);
}

static bool room_for_prepared(tm__worker *w) {
  if (w->nprepared < w->cap_prepared) return true;
  int cap = w->cap_prepared * 2 + 4;
  tm__prepared *list =
      tm__realloc(&w->pool->rt->mem, w->prepared, (size_t)cap * sizeof *list);
  if (!list) return false;
  w->prepared = list;
  w->cap_prepared = cap;
  return true;
}

/* The context of a job in this worker: kept while more of the job may come,
   so that its functions keep their upvalues. */
static void *prepare(tm__worker *w, tm__job *job) {
  for (int i = 0; i < w->nprepared; i++)
    if (w->prepared[i].job == job) return w->prepared[i].context;
  tm__worker_tidy(w);
  if (!room_for_prepared(w)) return NULL;
  tm__seat_prepare(w, job);
  void *context =
      job->batch ? tm__batch_enter(w, job) : w->pool->guest->enter(w, job);
  if (!context) return NULL;
  w->prepared[w->nprepared++] =
      (tm__prepared){.job = tm__job_ref(job), .context = context};
  return context;
}

static void forget(tm__worker *w, tm__job *job) {
  for (int i = 0; i < w->nprepared; i++)
    if (w->prepared[i].job == job) {
      drop(w, i);
      return;
    }
}

/* Whoever terminates the pool writes its state before it looks at pieces. */
static void push_piece(tm__worker *w, tm__piece *p) {
  p->below = innermost;
  p->depth = innermost ? innermost->depth + 1 : 1;
  innermost = p;
  pthread_mutex_lock(&w->lock);
  p->outer = w->piece;
  w->piece = p;
  w->expired = 0;
  pthread_mutex_unlock(&w->lock);
  if (tm__pool_state_of(w->pool) == TM__TERMINATED)
    tm__job_stop(p->job, TM__FAIL_CANCELLED);
}

void tm__worker_adopt(tm__job *job) {
  tm__piece *p = innermost;
  if (!p) return;
  while (p->children && tm__job_done(p->children)) {
    tm__job *done = p->children;
    p->children = done->sibling;
    tm__job_unref(done);
  }
  job->sibling = p->children;
  p->children = tm__job_ref(job);
}

/* Jobs that items of the piece submitted and did not wait for go on, unless
   the items were given up. */
static void release_children(tm__piece *p) {
  bool given_up = p->children && tm__worker_must_unwind();
  while (p->children) {
    tm__job *job = p->children;
    p->children = job->sibling;
    if (given_up && !tm__job_done(job))
      tm__pool_cancel(job, TM__FAIL_CANCELLED);
    tm__job_unref(job);
  }
}

/* False when the worker was abandoned: its items are settled already. */
static bool pop_piece(tm__worker *w, tm__piece *p) {
  innermost = p->below;
  pthread_mutex_lock(&w->lock);
  w->piece = p->outer;
  w->expired = 0;
  bool ours = !w->abandoned;
  pthread_mutex_unlock(&w->lock);
  return ours;
}

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

/* Gives the first item of a claim back, as one that was tried. */
static void try_again(tm__job *job, tm__claim *claim) {
  tm__claim rest = {.first = claim->last, .last = claim->last};
  if (claim->first + 1 < claim->last)
    tm__runs_split(job, claim, claim->first + 1, &rest);
  claim->tries++;
  tm__job_give_back(job, claim);
  *claim = rest;
}

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

/* The message of the one item of a piece of a stream, with a reference: its
   place is used again when the item has failed for a worker that is stuck.
   A process that is stuck is killed. */
static tm__msg *hold_item(const tm__piece *p) {
  if (p->job->items.kind != TM__ITEMS_STREAM || p->last - p->first > 1)
    return NULL;
  tm__msg *m = p->job->hub ? NULL : tm__job_fed(p->job, p->first);
  return m ? tm__msg_ref(m) : NULL;
}

static void run_items(tm__piece *p) {
  if (!tm__msg_open(&p->out)) return;
  tm__seat_begin(p);
  /* Whoever cancels says so before he looks who runs. */
  if (atomic_load(&p->job->cancelled)) return;
  if (p->job->batch)
    tm__batch_run(p);
  else
    p->worker->pool->guest->run(p);
}

/* Runs items of a claim, up to `last`, and takes those that it handled off
   it. False when the worker must stop. */
static bool run_piece(tm__worker *w, tm__job *job, void *context,
                      tm__claim *claim, uint64_t last) {
  tm__piece p = {.worker = w,
                 .job = job,
                 .context = context,
                 .first = claim->first,
                 .last = last,
                 .next = claim->first,
                 .claim_last = claim->last,
                 .tries = claim->tries};
  if (job->spec.timeout)
    p.deadline =
        job->batch ? job->batch->deadline : tm__now() + job->spec.timeout;
  if (!job->spec.chunk && last - p.first > 1)
    p.until = tm__now_coarse() + UNTIL_NS;
  tm__buf_init(&p.out, tm__seat_mem(w));
  tm__keys_init(&p.keys, tm__seat_mem(w));
  tm__msg *held = hold_item(&p);
  push_piece(w, &p);
  run_items(&p);
  release_children(&p);
  bool ours = pop_piece(w, &p);
  if (ours && may_try_again(&p))
    try_again(job, claim);
  else if (ours)
    publish(&p, claim);
  tm__seat_end(&p);
  tm__msg_unref(held, w->pool->mem, w->pool->rt->store);
  tm__keys_term(&p.keys, w->pool->rt->store);
  tm__buf_term(&p.out);
  return ours;
}

/* One claim; false when the worker was abandoned. */
static bool run_claim(tm__worker *w, tm__job *job, void *context,
                      tm__claim *claim) {
  uint64_t step =
      job->spec.timeout || job->spec.retries ? 1 : claim->last - claim->first;
  while (claim->first < claim->last) {
    uint64_t first = claim->first;
    if (!run_piece(w, job, context, claim, first + step)) return false;
    if (claim->first == first && !tm__job_skips(job, first) &&
        !tm__worker_must_unwind())
      tm__job_publish_failure(job, claim, TM__FAIL_TASK,
                              "not enough memory to run the item");
    if (claim->first != first + step || tm__job_skips(job, claim->first)) {
      tm__job_leave(job, claim);
      return true;
    }
  }
  return true;
}

static void fail_claim(tm__job *job, tm__claim *claim, const char *text) {
  while (claim->first < claim->last)
    tm__job_publish_failure(job, claim, TM__FAIL_TASK, text);
}

/* How many items may be claimed: by the pacer, and by what the worker has
   left before it is renewed. */
static uint64_t claim_size(tm__worker *w, const tm__job *job, const pacer *p) {
  uint64_t most = job->spec.chunk ? job->spec.chunk : p->count;
  uint64_t limit = w->pool->max_items;
  if (limit && limit - w->items < most) most = limit - w->items;
  return most ? most : 1;
}

static bool used_up(tm__worker *w) {
  tm__pool *pool = w->pool;
  if (w->piece) return false; /* a task waits here for its own job */
  if (pool->max_items && w->items >= pool->max_items) return true;
  return pool->max_memory && pool->guest->memory(w) > pool->max_memory;
}

/* A fresh state in the place of one that has served its time; of a process
   the next one makes it. */
static bool renew(tm__worker *w) {
  w->used_up = true;
  if (w->seat) return false;
  tm__worker_close(w);
  return tm__worker_open(w);
}

static void run_job(tm__worker *w, tm__job *job) {
  pacer pacing = {.count = 1};
  tm__claim claim;
  void *context = NULL;
  while (!tm__worker_must_unwind() && !(w->until && tm__now() >= w->until) &&
         tm__job_claim(job, claim_size(w, job, &pacing), w->pool->nworkers,
                       (uint32_t)w->index, &claim)) {
    uint64_t began = job->spec.chunk ? 0 : tm__now();
    if (!context) context = prepare(w, job);
    if (!context) {
      fail_claim(job, &claim, "not enough memory to prepare the task");
      continue;
    }
    uint64_t count = claim.last - claim.first;
    if (!run_claim(w, job, context, &claim)) return;
    if (!job->spec.chunk) pace(&pacing, count, tm__now() - began);
    w->items += count;
    if (used_up(w)) {
      context = NULL;
      if (!renew(w)) return;
    }
  }
  if (context && tm__job_exhausted(job) && !job->spec.retries) forget(w, job);
}

void tm__worker_run(tm__worker *w, tm__job *job) {
  tm__job_ref(job); /* its end may be what we count */
  run_job(w, job);
  count_tally(w);
  tm__job_unref(job);
}

/* An inline worker has a thread while it runs something. */
void tm__worker_poke(tm__worker *w) {
  bool runs_in_caller = w->pool->kind->runs_in_caller;
  if (!w->piece && !w->opening) return;
  if (w->alive || runs_in_caller) w->pool->kind->interrupt(w);
  if (w->waiting) tm__job_tell(w->waiting);
}

void tm__worker_interrupt(tm__worker *w) {
  pthread_mutex_lock(&w->lock);
  tm__worker_poke(w);
  pthread_mutex_unlock(&w->lock);
}

void tm__worker_set_waiting(tm__job *job) {
  for (tm__piece *p = innermost; p; p = p->below) {
    pthread_mutex_lock(&p->worker->lock);
    p->worker->waiting = job;
    pthread_mutex_unlock(&p->worker->lock);
  }
}

tm__worker *tm__worker_here(tm__pool *pool) {
  for (tm__piece *p = innermost; p; p = p->below)
    if (p->worker->pool == pool) return p->worker;
  return NULL;
}

int tm__worker_unwind(tm__worker *w, int *kind) {
  int depth = -1;
  for (tm__piece *p = innermost; p; p = p->below) {
    uint32_t why = atomic_load(&p->job->cancelled);
    if (!why && atomic_load(&p->worker->abandoned)) why = TM__FAIL_TIMEOUT;
    if (!why && p->deadline && tm__now() >= p->deadline) why = TM__FAIL_TIMEOUT;
    if (why) {
      depth = p->depth;
      *kind = (int)why;
    }
  }
  if (depth >= 0 || !w || !w->opening) return depth;
  *kind = TM__FAIL_CANCELLED;
  return tm__pool_state_of(w->pool) == TM__TERMINATED ? 0 : -1;
}

bool tm__worker_must_unwind(void) {
  int kind;
  return innermost && tm__worker_unwind(NULL, &kind) >= 0;
}

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

tm__worker *tm__worker_new(tm__pool *pool, int index) {
  tm__worker *w = tm__calloc(&pool->rt->mem, 1, sizeof *w);
  if (!w) return NULL;
  w->pool = pool;
  w->index = index;
  atomic_init(&w->cpu, -1);
  pthread_mutex_init(&w->lock, NULL);
  return w;
}

void tm__worker_free(tm__worker *w) {
  if (!w) return;
  pthread_mutex_destroy(&w->lock);
  tm__free(&w->pool->rt->mem, w);
}
