#include "run/job.h"

#include <stddef.h>
#include <string.h>

#include "base/platform.h"
#include "run/batch.h"
#include "run/inbox.h"
#include "run/pool.h"
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

static void items_free(tm__items *items, tm__pool *pool) {
  tm__msg_unref(items->packed, pool->mem, pool->rt->store);
  tm__free(pool->mem, items->offsets);
  items->packed = NULL;
  items->offsets = NULL;
}

static void empty(tm__job *job) {
  for (uint64_t i = 0; i < (job->nslots ? job->nslots : 1); i++) {
    tm__slot *slot = &job->slots[i];
    tm__msg_unref(atomic_load(&slot->results), job->pool->mem,
                  job->pool->rt->store);
    tm__msg_unref(slot->item, job->pool->mem, job->pool->rt->store);
  }
  if (job->slots != &job->one) tm__free(job->pool->mem, job->slots);
  tm__free(job->pool->mem, job->spares);
  job->spares = NULL;
  job->slots = &job->one;
  job->one = (tm__slot){.item = NULL};
  job->nslots = 0;
  items_free(&job->items, job->pool);
}

void tm__job_empty(tm__job *job) {
  if (!atomic_load(&job->lost)) empty(job);
}

/* One slot for each item, or for each place in a stream's window; the only
   slot of a small job is inside it. */
static bool slots_make(tm__job *job) {
  const tm__mem *mem = job->pool->mem;
  uint64_t n = job->spec.window ? job->spec.window : job->items.n;
  job->slots = &job->one;
  if (job->spec.window) {
    job->spares = tm__calloc(mem, n, sizeof *job->spares);
    if (!job->spares) return false;
  }
  if (n <= 1) return true;
  tm__slot *slots = tm__calloc(mem, n, sizeof *slots);
  if (!slots) return false;
  job->slots = slots;
  job->nslots = n;
  return true;
}

int tm__job_new(tm__job **out, tm__pool *pool, const tm__spec *spec,
                tm__items *items, tm__msg *code, tm_error *e) {
  tm__job *job = tm__calloc(pool->mem, 1, sizeof *job);
  *out = NULL;
  if (!job) goto no_memory;
  job->pool = pool;
  job->spec = *spec;
  job->items = *items;
  if (!slots_make(job)) goto no_memory;
  job->code = code;
  job->id = atomic_fetch_add(&pool->rt->next_job, 1) + 1;
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
  if (job) tm__free(pool->mem, job->spares);
  tm__free(pool->mem, job);
  items_free(items, pool);
  tm__msg_unref(code, pool->mem, pool->rt->store);
  return tm__fail(e, TM_ENOMEM, "not enough memory for a job of %llu items",
                  (unsigned long long)items->n);
}

tm__job *tm__job_ref(tm__job *job) {
  /* relaxed: whoever gives us a reference has one */
  atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
  return job;
}

/* Frees a list of items given back; answers how many they are. */
static uint64_t again_free(tm__again *list, const tm__mem *mem) {
  uint64_t count = 0;
  while (list) {
    tm__again *a = list;
    list = a->next;
    count += a->last - a->first;
    tm__free(mem, a);
  }
  return count;
}

void tm__job_unref(tm__job *job) {
  if (!job || atomic_fetch_sub(&job->refs, 1) != 1) return;
  tm__pool *pool = job->pool;
  if (job->watched && !tm__job_done(job)) atomic_fetch_sub(&pool->timed, 1);
  if (pool->guest->forget) pool->guest->forget(job);
  again_free(job->again, pool->mem);
  empty(job);
  tm__batch_free(job->batch);
  tm__msg_unref(job->code, pool->mem, pool->rt->store);
  tm__inbox_unref(job->inbox);
  tm__free(pool->mem, job);
  tm__pool_unref(pool);
}

/* The waiter counts itself before it looks, we write before we look: one of
   us sees the other. */
void tm__job_tell(tm__job *job) {
  if (!atomic_load(&job->waiters)) return;
  atomic_fetch_add(&job->tick, 1);
  tm__futex_wake(&job->tick, INT32_MAX, false);
}

/* The inbox comes before `done`: who sees that a job is done finds its
   callbacks due. Workers that sleep with the job prepared wake to drop it. */
static void finish(tm__job *job) {
  if (atomic_exchange(&job->ended, 1)) return;
  if (job->watched) atomic_fetch_sub(&job->pool->timed, 1);
  if (job->inbox) tm__inbox_push(job->inbox, job);
  atomic_store(&job->done, 1);
  tm__job_tell(job);
  if (atomic_load(&job->resting)) tm__pool_wake_all(job->pool);
}

static void settle(tm__job *job, uint64_t count) {
  uint64_t settled = atomic_fetch_add(&job->settled, count) + count;
  if (atomic_load(&job->closed) && settled == atomic_load(&job->limit))
    finish(job);
}

bool tm__job_claimable(tm__job *job) {
  return atomic_load(&job->nagain) ||
         atomic_load(&job->next) < atomic_load(&job->limit);
}

bool tm__job_exhausted(tm__job *job) {
  return atomic_load(&job->closed) && !tm__job_claimable(job);
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Claims from what was given back. Taken under the pool's lock; rare. */
static bool claim_again(tm__job *job, uint64_t most, tm__claim *out) {
  bool found = false;
  pthread_mutex_lock(&job->pool->lock);
  tm__again *a = job->again;
  if (a) {
    found = true;
    out->first = a->first;
    out->last = a->first + min_u64(most, a->last - a->first);
    out->tries = a->tries;
    a->first = out->last;
    if (a->first == a->last) {
      job->again = a->next;
      atomic_fetch_sub(&job->nagain, 1);
      tm__free(job->pool->mem, a);
    }
  }
  pthread_mutex_unlock(&job->pool->lock);
  return found;
}

bool tm__job_claim(tm__job *job, uint64_t most, int workers, tm__claim *out) {
  if (atomic_load(&job->nagain) && claim_again(job, most, out)) return true;
  uint64_t next = atomic_load(&job->next);
  for (;;) {
    uint64_t limit = atomic_load(&job->limit);
    if (next >= limit) return false;
    uint64_t count = min_u64(most, limit - next);
    if (!job->spec.chunk) {
      uint64_t fair = (limit - next) / (2 * (uint64_t)workers) + 1;
      count = min_u64(count, fair);
    }
    if (atomic_compare_exchange_weak(&job->next, &next, next + count)) {
      *out = (tm__claim){.first = next, .last = next + count};
      return true;
    }
  }
}

bool tm__job_give_back(tm__job *job, uint64_t first, uint64_t last,
                       uint32_t tries) {
  tm__again *a = tm__alloc(job->pool->mem, sizeof *a);
  if (!a) return false;
  *a = (tm__again){.first = first, .last = last, .tries = tries};
  pthread_mutex_lock(&job->pool->lock);
  bool stopped = job->stopped;
  if (!stopped) {
    a->next = job->again;
    job->again = a;
    atomic_fetch_add(&job->nagain, 1);
  }
  pthread_mutex_unlock(&job->pool->lock);
  if (stopped) {
    tm__free(job->pool->mem, a);
    return false;
  }
  tm__pool_announce(job->pool, job);
  tm__job_tell(job);
  return true;
}

void tm__job_publish(tm__job *job, tm__msg *m, uint64_t first, uint64_t records,
                     uint64_t count) {
  if (m) {
    m->first = first;
    m->count = records;
    atomic_store(&tm__job_slot(job, first)->results, m);
  }
  settle(job, count);
  if (job->spec.window) tm__job_tell(job);
}

_Static_assert(offsetof(tm__spare, bytes) == sizeof(tm__msg),
               "the bytes of a message follow it");

/* The spare failure of an item of a stream. The job has a reference to it
   that nobody gives back. */
static tm__msg *spare_failure(tm__job *job, uint64_t item, int kind) {
  static const char text[] = "not enough memory for the result";
  tm__spare *s = &job->spares[job->nslots ? item % job->nslots : 0];
  _Static_assert(TM__RECORD_HEAD + sizeof text <= sizeof s->bytes, "it fits");
  tm__record r = {
      .tag = TM__REC_CORE, .kind = (unsigned char)kind, .len = sizeof text - 1};
  tm__record_write(s->bytes, r);
  memcpy(s->bytes + TM__RECORD_HEAD, text, sizeof text - 1);
  s->msg.len = TM__RECORD_HEAD + sizeof text - 1;
  atomic_store(&s->msg.refs, 2);
  return &s->msg;
}

void tm__job_publish_failure(tm__job *job, uint64_t item, int kind,
                             const char *text) {
  tm__buf b;
  tm__keys keys;
  tm__msg *m = NULL;
  tm__buf_init(&b, job->pool->mem);
  tm__keys_init(&keys, job->pool->mem);
  if (tm__msg_open(&b) && tm__record_text(&b, kind, text))
    m = tm__msg_seal(&b, &keys);
  tm__buf_term(&b);
  if (!m && job->spares) m = spare_failure(job, item, kind);
  tm__job_fail(job, item);
  tm__job_publish(job, m, item, 1, 1);
}

void tm__job_leave(tm__job *job, uint64_t first, uint64_t last,
                   uint32_t tries) {
  if (first >= last) return;
  if (!tm__job_skips(job, first) && tm__job_give_back(job, first, last, tries))
    return;
  for (; first < last && !tm__job_skips(job, first); first++)
    tm__job_publish_failure(job, first, TM__FAIL_TASK,
                            "not enough memory to run the item");
  tm__job_publish(job, NULL, first, 0, last - first);
}

/* Closes the claims; answers how many items were not claimed. The limit of
   a stream must not grow meanwhile: its caller has the pool's lock. */
static uint64_t close_claims(tm__job *job) {
  atomic_store(&job->closed, 1);
  uint64_t next = atomic_exchange(&job->next, UINT64_MAX);
  uint64_t limit = atomic_load(&job->limit);
  return next < limit ? limit - next : 0;
}

void tm__job_fail(tm__job *job, uint64_t item) {
  atomic_fetch_add(&job->failed, 1);
  if (job->spec.collect || job->spec.window) return;
  uint64_t lowest = atomic_load(&job->fail_at);
  while (item < lowest &&
         !atomic_compare_exchange_weak(&job->fail_at, &lowest, item)) {
  }
  settle(job, close_claims(job));
}

void tm__job_stop(tm__job *job, int kind) {
  uint32_t none = 0;
  atomic_compare_exchange_strong(&job->cancelled, &none, (uint32_t)kind);
  pthread_mutex_lock(&job->pool->lock);
  uint64_t skipped = close_claims(job);
  tm__again *again = job->again;
  job->again = NULL;
  atomic_store(&job->nagain, 0);
  job->stopped = true;
  bool queued = tm__pool_unlink(job->pool, job);
  pthread_mutex_unlock(&job->pool->lock);
  skipped += again_free(again, job->pool->mem);
  settle(job, skipped);
  if (queued) tm__job_unref(job);
}

uint64_t tm__job_room(tm__job *job, uint64_t taken) {
  /* relaxed: only the owner changes limit */
  uint64_t limit = atomic_load_explicit(&job->limit, memory_order_relaxed);
  return job->spec.window - (limit - taken);
}

/* Puts an item in its slot, unless the job was stopped; answers the message
   that nobody needs any more. */
static tm__msg *put_item(tm__job *job, tm__msg *item) {
  if (job->stopped) return item;
  uint64_t i = atomic_load(&job->limit);
  tm__slot *slot = tm__job_slot(job, i);
  tm__msg *before = slot->item;
  slot->item = item;
  atomic_store(&job->limit, i + 1); /* the slot is written before */
  return before;
}

void tm__job_feed(tm__job *job, tm__msg *item) {
  tm__pool *pool = job->pool;
  pthread_mutex_lock(&pool->lock);
  item = put_item(job, item);
  bool stopped = job->stopped;
  pthread_mutex_unlock(&pool->lock);
  tm__msg_unref(item, pool->mem, pool->rt->store);
  if (!stopped) tm__pool_announce(pool, job);
}

void tm__job_close(tm__job *job) {
  atomic_store(&job->closed, 1);
  settle(job, 0);
  tm__pool_dismiss(job->pool, job);
}

const tm__msg *tm__job_item(tm__job *job, uint64_t i,
                            const unsigned char **bytes,
                            const unsigned char **end) {
  const tm__msg *m = NULL;
  uint64_t offset = 0;
  if (job->items.kind == TM__ITEMS_STREAM) {
    m = tm__job_slot(job, i)->item;
  } else if (job->items.kind == TM__ITEMS_PACKED) {
    m = job->items.packed;
    if (job->items.offsets) offset = job->items.offsets[i];
  }
  if (!m) return NULL;
  *bytes = tm__msg_bytes(m) + offset;
  *end = tm__msg_bytes(m) + m->len;
  return m;
}
