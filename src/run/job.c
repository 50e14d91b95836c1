#include "run/job.h"

#include <stddef.h>
#include <string.h>

#include "base/platform.h"
#include "run/batch.h"
#include "run/hub.h"
#include "run/inbox.h"
#include "run/pool.h"
#include "run/runs.h"
#include "run/runtime.h"

const char *tm__kind_name(int kind) {
  static const char *const names[] = {"task",    "task",      "worker_died",
                                      "timeout", "cancelled", "interrupted",
                                      "send"};
  return kind > 0 && kind <= TM__FAIL_SEND ? names[kind] : "task";
}

void tm__record_write(unsigned char *at, tm__record r) {
  at[0] = r.tag;
  at[1] = r.kind;
  memcpy(at + 2, &r.len, sizeof r.len);
}

bool tm__record_read(const unsigned char **at, const unsigned char *end,
                     tm__record *out) {
  if (end - *at < TM__RECORD_HEAD) return false;
  out->tag = (*at)[0];
  out->kind = (*at)[1];
  memcpy(&out->len, *at + 2, sizeof out->len);
  *at += TM__RECORD_HEAD;
  return out->len <= (size_t)(end - *at);
}

bool tm__record_text(tm__buf *b, int kind, const char *text) {
  size_t n = strlen(text);
  unsigned char *p = tm__buf_take(b, TM__RECORD_HEAD + n);
  if (!p) return false;
  tm__record_write(p, (tm__record){.tag = TM__REC_CORE,
                                   .kind = (unsigned char)kind,
                                   .len = (uint32_t)n});
  memcpy(p + TM__RECORD_HEAD, text, n);
  return true;
}

static void msg_unref(const tm__job *job, tm__msg *m) {
  tm__pool *pool = tm__job_pool(job);
  tm__msg_unref(m, pool->mem, pool->rt->store);
}

static void items_free(tm__items *items, tm__pool *pool) {
  tm__msg_unref(items->packed, pool->mem, pool->rt->store);
  tm__free(pool->mem, items->offsets);
  items->packed = NULL;
  items->offsets = NULL;
}

/* The words stay: a worker may still look at one. */
static void empty(tm__job *job) {
  uint64_t n = job->nwords ? job->nwords : 1;
  for (uint64_t i = 0; i < n; i++) {
    tm__run r = tm__runs_read(atomic_load(&job->words[i]));
    if (r.state != TM__RUN_SETTLED) continue;
    tm__runs_empty(job, i);
    msg_unref(job, r.msg);
  }
  for (uint64_t i = 0; job->fed && i < n; i++) {
    msg_unref(job, job->fed[i]);
    job->fed[i] = NULL;
  }
  items_free(&job->items, tm__job_pool(job));
}

void tm__job_empty(tm__job *job) {
  if (!atomic_load(&job->lost)) empty(job);
}

/* The only word of a small job is inside it. */
static bool words_make(tm__job *job, const tm__mem *mem) {
  uint64_t n = job->spec.window ? job->spec.window : job->items.n;
  job->words = &job->one;
  if (job->spec.window) {
    job->spares = tm__calloc(mem, n, sizeof *job->spares);
    job->fed = tm__calloc(mem, n, sizeof *job->fed);
    if (!job->spares || !job->fed) return false;
  }
  if (n <= 1) return true;
  _Atomic uint64_t *words = tm__calloc(mem, n, sizeof *words);
  if (!words) return false;
  job->words = words;
  job->nwords = n;
  return true;
}

static void words_free(tm__job *job, const tm__mem *mem) {
  if (job->words != &job->one) tm__free(mem, (void *)job->words);
  tm__free(mem, job->spares);
  tm__free(mem, job->fed);
}

int tm__job_new(tm__job **out, tm__pool *pool, const tm__spec *spec,
                tm__items *items, tm__msg *code, tm_error *e) {
  tm__job *job = tm__calloc(pool->mem, 1, sizeof *job);
  *out = NULL;
  if (!job) goto no_memory;
  job->pool = pool;
  job->hub = pool->hub;
  job->spec = *spec;
  job->items = *items;
  if (!words_make(job, pool->mem)) goto no_memory;
  job->code = code;
  job->id = tm__runtime_job(pool->rt);
  atomic_init(&job->refs, 1);
  atomic_init(&job->limit, spec->window ? 0 : items->n);
  atomic_init(&job->closed, spec->window == 0);
  atomic_init(&job->fail_at, UINT64_MAX);
  atomic_init(&job->done, !spec->window && items->n == 0);
  atomic_init(&job->ended, !spec->window && items->n == 0);
  tm__pool_ref(pool);
  *out = job;
  return TM_OK;
no_memory:
  if (job) words_free(job, pool->mem);
  tm__free(pool->mem, job);
  items_free(items, pool);
  tm__msg_unref(code, pool->mem, pool->rt->store);
  return tm__fail(e, TM_ENOMEM, "not enough memory for a job of %llu items",
                  (unsigned long long)items->n);
}

/* By the script's process alone: a worker may be killed in the middle. */
void tm__job_unwatch(tm__job *job) {
  if (atomic_load(&job->watched) && atomic_exchange(&job->watched, false))
    atomic_fetch_sub(&job->pool->bell->timed, 1);
}

/* In a worker process the references of a job are what its seat holds. */
static bool foreign(const tm__job *job) {
  return job->hub && tm__served && job->hub == tm__served->hub;
}

tm__job *tm__job_ref(tm__job *job) {
  if (foreign(job))
    tm__seat_hold(tm__served_seat, job);
  else /* relaxed: whoever gives us a reference has one */
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
  return job;
}

void tm__job_free(tm__job *job) {
  tm__pool *pool = job->pool;
  tm__job_unwatch(job);
  if (pool->guest->forget) pool->guest->forget(job);
  empty(job);
  words_free(job, pool->mem);
  tm__batch_free(job->batch);
  msg_unref(job, job->code);
  tm__inbox_unref(job->inbox);
  tm__free(pool->mem, job);
  tm__pool_unref(pool);
}

/* A job of a process that we were forked from is not ours to free. */
void tm__job_unref(tm__job *job) {
  if (!job) return;
  if (foreign(job)) {
    tm__seat_drop(tm__served_seat, job);
    return;
  }
  if (job->pool->pid != tm__pid()) return;
  if (atomic_fetch_sub(&job->refs, 1) != 1) return;
  if (!job->hub || tm__pool_retire(job->pool, job)) tm__job_free(job);
}

/* The waiter counts itself before it looks, we write before we look: one of
   us sees the other. */
void tm__job_tell(tm__job *job) {
  if (!atomic_load(&job->waiters)) return;
  atomic_fetch_add(&job->tick, 1);
  tm__futex_wake(&job->tick, INT32_MAX, job->hub != NULL);
}

/* The inbox comes before `done`: who sees that a job is done finds its
   callbacks due. Workers that sleep with the job prepared wake to drop it. */
void tm__job_finish(tm__job *job) {
  tm__pool *pool = tm__job_pool(job);
  tm__hub_finishing(job->hub, job);
  if (!atomic_exchange(&job->ended, 1)) {
    if (!foreign(job)) tm__job_unwatch(job);
    if (job->inbox) tm__inbox_push(job->inbox, job);
    atomic_store(&job->done, 1);
    tm__job_tell(job);
    if (atomic_load(&job->resting)) tm__pool_wake_all(pool);
  }
  tm__hub_finishing(job->hub, NULL);
}

/* So many items are counted. Where a dead process may not have counted some,
   nobody may come after us, and the job may be in no ring: a look at the items
   tells. */
static void look_for_end(tm__job *job, uint64_t settled) {
  uint64_t limit = atomic_load(&job->limit), slack = atomic_load(&job->slack);
  if (settled == limit) {
    tm__job_finish(job);
  } else if (slack && settled + slack >= limit) {
    if (!job->spec.window) tm__job_audit(job);
    tm__job_tell(job);
  }
}

/* The note of what is not counted stays until the end is seen to. */
void tm__job_settle(tm__job *job, uint64_t count) {
  uint64_t settled = atomic_fetch_add(&job->settled, count) + count;
  if (atomic_load(&job->closed)) look_for_end(job, settled);
  tm__hub_settled(job->hub);
}

void tm__job_audit(tm__job *job) {
  if (!atomic_load(&job->slack) || tm__job_done(job)) return;
  if (!atomic_load(&job->closed)) return;
  uint64_t from = job->taken, limit = atomic_load(&job->limit);
  if (from + tm__runs_settled(job, from) == limit) tm__job_finish(job);
}

/* Skips what nobody runs. */
static void skip_rest(tm__job *job, bool again) {
  tm__hub_settling(job->hub, job, atomic_load(&job->limit));
  tm__job_settle(job, tm__runs_skip(job, again));
}

void tm__job_give_back(tm__job *job, tm__claim *claim) {
  tm__runs_give_back(job, claim);
  claim->first = claim->last;
  if (atomic_load(&job->stopped)) {
    skip_rest(job, true);
    return;
  }
  tm__pool_announce(tm__job_pool(job), job);
  tm__job_tell(job);
}

/* Up to the counting. */
static void publish(tm__job *job, tm__claim *claim, tm__msg *m,
                    uint64_t records, uint64_t count, uint64_t uncounted) {
  if (m) {
    m->first = claim->first;
    m->count = records;
  }
  if (m && job->hub) tm__msg_pass(m, tm__job_pool(job)->rt->store);
  tm__hub_settling(job->hub, job, uncounted);
  tm__runs_settle(job, claim, m, records, count);
}

void tm__job_publish(tm__job *job, tm__claim *claim, tm__msg *m,
                     uint64_t records, uint64_t count) {
  publish(job, claim, m, records, count, count);
  tm__job_settle(job, count);
  if (job->spec.window) tm__job_tell(job);
}

void tm__job_publish_uncounted(tm__job *job, tm__claim *claim, tm__msg *m,
                               uint64_t records, uint64_t uncounted) {
  publish(job, claim, m, records, records, uncounted);
  if (job->spec.window) tm__job_tell(job);
}

_Static_assert(offsetof(tm__spare, bytes) == sizeof(tm__msg),
               "the bytes of a message follow it");

/* The spare failure of an item of a stream. The job has a reference to it
   that nobody gives back. */
static tm__msg *spare_failure(tm__job *job, uint64_t item, int kind) {
  static const char text[] = "not enough memory for the result";
  tm__spare *s = &job->spares[job->nwords ? item % job->nwords : 0];
  _Static_assert(TM__RECORD_HEAD + sizeof text <= sizeof s->bytes, "it fits");
  tm__record r = {
      .tag = TM__REC_CORE, .kind = (unsigned char)kind, .len = sizeof text - 1};
  tm__record_write(s->bytes, r);
  memcpy(s->bytes + TM__RECORD_HEAD, text, sizeof text - 1);
  s->msg.len = TM__RECORD_HEAD + sizeof text - 1;
  atomic_store(&s->msg.refs, 2);
  return &s->msg;
}

void tm__job_publish_failure(tm__job *job, tm__claim *claim, int kind,
                             const char *text) {
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  const tm__mem *mem = tm__job_pool(job)->mem;
  tm__buf_init(&b, mem);
  tm__keys_init(&keys, mem);
  if (tm__msg_open(&b) && tm__record_text(&b, kind, text))
    m = tm__msg_seal(&b, &keys);
  tm__buf_term(&b);
  if (!m && job->spares) m = spare_failure(job, claim->first, kind);
  tm__job_fail(job, claim->first);
  tm__job_publish(job, claim, m, 1, 1);
}

void tm__job_leave(tm__job *job, tm__claim *claim) {
  if (claim->first >= claim->last) return;
  if (tm__job_skips(job, claim->first))
    tm__job_publish(job, claim, NULL, 0, claim->last - claim->first);
  else
    tm__job_give_back(job, claim);
}

void tm__job_fail(tm__job *job, uint64_t item) {
  atomic_fetch_add(&job->failed, 1);
  if (job->spec.collect || job->spec.window) return;
  uint64_t lowest = atomic_load(&job->fail_at);
  while (item < lowest &&
         !atomic_compare_exchange_weak(&job->fail_at, &lowest, item)) {
  }
  skip_rest(job, false);
}

void tm__job_stop(tm__job *job, int kind) {
  uint32_t none = 0;
  atomic_compare_exchange_strong(&job->cancelled, &none, (uint32_t)kind);
  atomic_store(&job->stopped, 1);
  atomic_store(&job->closed, 1);
  bool queued = tm__pool_unlink(tm__job_pool(job), job);
  skip_rest(job, true);
  if (queued) tm__job_unref(job);
}

uint64_t tm__job_room(tm__job *job, uint64_t taken) {
  /* relaxed: only the owner changes limit */
  uint64_t limit = atomic_load_explicit(&job->limit, memory_order_relaxed);
  job->taken = taken;
  return job->spec.window - (limit - taken);
}

tm__msg *tm__job_fed(tm__job *job, uint64_t i) {
  return job->fed[job->nwords ? i % job->nwords : 0];
}

/* Whoever stops the job says so before it skips, we look after the item is
   there: one of us skips it. */
void tm__job_feed(tm__job *job, tm__msg *item) {
  uint64_t i = atomic_load(&job->limit);
  tm__msg **place = &job->fed[job->nwords ? i % job->nwords : 0];
  tm__msg *before = *place;
  if (atomic_load(&job->stopped)) {
    msg_unref(job, item);
    return;
  }
  *place = item;
  tm__runs_feed(job, i);
  msg_unref(job, before);
  if (atomic_load(&job->stopped))
    skip_rest(job, true);
  else
    tm__pool_announce(tm__job_pool(job), job);
}

/* A message of another process, and its list of keys, lie where this one may
   have had something else before. */
static tm__msg *meet(const tm__job *job, tm__msg *m) {
  if (!m || !job->hub) return m;
  const tm__arena *arena = tm__job_pool(job)->rt->arena;
  tm__arena_meet(arena, m);
  if (m->nkeys) tm__arena_meet(arena, m->keys);
  return m;
}

tm__msg *tm__job_results(tm__job *job, uint64_t i) {
  return meet(job, tm__runs_read(atomic_load(tm__runs_word(job, i))).msg);
}

tm__msg *tm__job_take(tm__job *job, uint64_t i) {
  return meet(job,
              tm__runs_read(atomic_exchange(tm__runs_word(job, i), 0)).msg);
}

void tm__job_close(tm__job *job) {
  atomic_store(&job->closed, 1);
  tm__job_settle(job, 0);
  tm__pool_dismiss(tm__job_pool(job), job);
}

const tm__msg *tm__job_item(tm__job *job, uint64_t i,
                            const unsigned char **bytes,
                            const unsigned char **end) {
  const tm__msg *m = NULL;
  uint64_t offset = 0;
  if (job->items.kind == TM__ITEMS_STREAM) {
    m = tm__job_fed(job, i);
  } else if (job->items.kind == TM__ITEMS_PACKED) {
    m = job->items.packed;
    if (job->items.offsets) offset = job->items.offsets[i];
  }
  if (!m) return NULL;
  *bytes = tm__msg_bytes(m) + offset;
  *end = tm__msg_bytes(m) + m->len;
  return m;
}
