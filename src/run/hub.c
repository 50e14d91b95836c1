#include "run/hub.h"

#include <string.h>
#include <unistd.h>

#include "base/platform.h"
#include "run/pool.h"
#include "run/process.h"
#include "run/runs.h"
#include "run/runtime.h"

tm__pool *tm__served;
tm__seat *tm__served_seat;

/* More empty places than this in front of a job cost every look at the ring:
   then it is put at the tail. */
enum { OVERTAKEN = 64 };

/* Jobs in front that are not done, and how many places behind them each sweep
   looks at in turn. */
enum { FRONT = 8, LOOKS = 16 };

/* release: notes are for who reads them after our death, in the order in
   which they were written; what others must see at once is not among them. */
#define note(word, value)                                                      \
  atomic_store_explicit(word, value, memory_order_release)

tm__hub *tm__hub_new(const tm__mem *arena, int seats) {
  size_t size = sizeof(tm__hub) + (size_t)seats * sizeof(tm__seat);
  tm__hub *hub = tm__calloc(arena, 1, size);
  if (hub) hub->nseats = seats;
  return hub;
}

void tm__hub_free(tm__hub *hub, const tm__mem *arena) { tm__free(arena, hub); }

void tm__hub_show(tm__hub *hub) {
  tm__seat *s = tm__served_seat;
  if (!s) return;
  atomic_store(&hub->next, atomic_load(&s->hubs));
  atomic_store(&s->hubs, hub);
}

void tm__hub_hide(tm__hub *hub) {
  if (!tm__served_seat) return;
  _Atomic(tm__hub *) *at = &tm__served_seat->hubs;
  while (atomic_load(at) && atomic_load(at) != hub) at = &atomic_load(at)->next;
  if (atomic_load(at)) atomic_store(at, atomic_load(&hub->next));
}

static _Atomic(tm__job *) *place(tm__hub *hub, uint64_t position) {
  return &hub->ring[position % TM__RING];
}

/* ---- seats ---- */

/* No table is freed while the worker lives: the parent may read it. One is
   noted after it was replaced, so that a kill in between loses it and nobody
   frees it twice. */
static void grow(tm__seat *s) {
  uint32_t cap = s->cap_held * 2 + 8;
  tm__held *before = atomic_load(&s->held);
  tm__held *table = tm__calloc(tm__served->mem, cap, sizeof *table);
  if (!table) _exit(TM__EXIT_NO_MEMORY);
  for (uint32_t i = 0; i < s->cap_held; i++) {
    atomic_init(&table[i].job, atomic_load(&before[i].job));
    table[i].count = before[i].count;
  }
  atomic_store(&s->held, table);
  s->cap_held = cap;
  uint32_t n = atomic_load(&s->noutgrown);
  if (!before || n == TM__OUTGROWN) return;
  s->outgrown[n] = before;
  atomic_store(&s->noutgrown, n + 1);
}

void tm__seat_free_tables(tm__seat *s, const tm__mem *arena) {
  uint32_t outgrown = atomic_exchange(&s->noutgrown, 0);
  tm__free(arena, (void *)atomic_exchange(&s->held, NULL));
  for (uint32_t i = 0; i < outgrown; i++) tm__free(arena, s->outgrown[i]);
}

static tm__held *find_held(tm__seat *s, tm__job *job) {
  tm__held *table = atomic_load(&s->held);
  uint32_t n = atomic_load(&s->nheld);
  for (uint32_t i = 0; i < n; i++)
    if (atomic_load(&table[i].job) == job) return &table[i];
  return NULL;
}

void tm__seat_hold(tm__seat *s, tm__job *job) {
  uint32_t n = atomic_load(&s->nheld);
  tm__held *h = find_held(s, job);
  if (h) {
    h->count++;
    return;
  }
  h = find_held(s, NULL);
  if (!h && n == s->cap_held) grow(s);
  if (!h) h = &atomic_load(&s->held)[n++];
  h->count = 1;
  atomic_store(&h->job, job);
  atomic_store(&s->nheld, n);
}

void tm__seat_drop(tm__seat *s, tm__job *job) {
  uint32_t n = atomic_load(&s->nheld);
  tm__held *h = find_held(s, job);
  if (!h || --h->count) return;
  atomic_store(&h->job, NULL);
  while (n > 0 && !atomic_load(&atomic_load(&s->held)[n - 1].job)) n--;
  atomic_store(&s->nheld, n);
}

/* The table is read before its length: a longer one has all of a shorter. */
bool tm__hub_holds(tm__hub *hub, tm__job *job) {
  for (int k = 0; k < hub->nseats; k++) {
    if (atomic_load(&hub->seats[k].looked) == job) return true;
    uint32_t n = atomic_load(&hub->seats[k].nheld);
    tm__held *table = atomic_load(&hub->seats[k].held);
    for (uint32_t i = 0; i < n; i++)
      if (atomic_load(&table[i].job) == job) return true;
  }
  return false;
}

uint32_t tm__hub_count(tm__hub *hub, uint32_t mood) {
  uint32_t count = 0;
  for (int k = 0; k < hub->nseats; k++)
    count += atomic_load(&hub->seats[k].mood) == mood;
  return count;
}

int tm__hub_awake(tm__hub *hub) {
  uint32_t idle = tm__hub_count(hub, TM__VACANT);
  idle += tm__hub_count(hub, TM__SLEEPING);
  return hub->nseats - (int)idle + !atomic_load(&hub->script_sleeps);
}

static bool serves(const tm__hub *hub) {
  return hub && tm__served && tm__served->hub == hub;
}

static uint64_t tally_of(const tm__worker *w) {
  return w && w->seat ? atomic_load(&w->tally) : 0;
}

void tm__hub_settling(tm__hub *hub, tm__job *job, uint64_t count) {
  if (!serves(hub)) return;
  count += tally_of(tm__worker_self());
  note(&tm__served_seat->settling_count, count);
  note(&tm__served_seat->settling, job);
}

void tm__hub_settled(tm__hub *hub) {
  if (!serves(hub)) return;
  tm__worker *w = tm__worker_self();
  uint64_t tally = tally_of(w);
  note(&tm__served_seat->settling, tally ? w->tallied : NULL);
  note(&tm__served_seat->settling_count, tally);
}

void tm__hub_finishing(tm__hub *hub, tm__job *job) {
  if (serves(hub)) note(&tm__served_seat->finishing, job);
}

void tm__hub_mood(tm__hub *hub, int mood) {
  if (serves(hub)) atomic_store(&tm__served_seat->mood, (uint32_t)mood);
}

/* ---- pieces ---- */

void tm__seat_prepare(const tm__worker *w, tm__job *job) {
  if (!w->seat || w->piece) return;
  note(&w->seat->job, job);
  note(&w->seat->mood, TM__PREPARING);
}

/* Of pieces that nest, the outermost is the one that dies. */
void tm__seat_begin(tm__piece *p) {
  tm__seat *s = p->worker->seat;
  if (!s || p->outer) return;
  p->seat = s;
  note(&s->job, p->job);
  note(&s->first, p->first);
  note(&s->next, p->first);
  note(&s->records, p->out.data);
  note(&s->keys, NULL);
  note(&s->nkeys, 0);
  note(&s->deadline, p->deadline);
  atomic_store(&s->mood, TM__RUNNING); /* before it looks at `cancelled` */
}

void tm__seat_advance(tm__piece *p, uint64_t next) {
  tm__seat *s = p->seat;
  note(&s->records, p->out.data);
  note(&s->keys, p->keys.list);
  note(&s->nkeys, p->keys.count);
  note(&s->next, next);
}

void tm__seat_end(tm__piece *p) {
  if (!p->seat) return;
  note(&p->seat->mood, TM__AWAKE);
  note(&p->seat->deadline, 0);
  note(&p->seat->records, NULL);
}

/* What grows is copied, and shown in its new place, before the old goes. */
static void *move(tm__seat *s, void *ptr, size_t size) {
  const tm__mem *arena = tm__served->mem;
  tm__arena *a = tm__served->rt->arena;
  size_t room = tm__arena_block_size(a, ptr);
  if (size <= room) return ptr;
  void *moved = tm__alloc(arena, size);
  if (!moved) return NULL;
  memcpy(moved, ptr, room);
  if (atomic_load(&s->records) == ptr) atomic_store(&s->records, moved);
  if (atomic_load(&s->keys) == ptr) atomic_store(&s->keys, moved);
  tm__free(arena, ptr);
  return moved;
}

static void *seat_alloc(void *user, void *ptr, size_t size) {
  (void)user;
  if (ptr && size) return move(tm__served_seat, ptr, size);
  return tm__served->mem->fn(tm__served->mem->user, ptr, size);
}

const tm__mem *tm__seat_mem(const tm__worker *w) {
  static const tm__mem mem = {.fn = seat_alloc};
  return w->seat && w->pool == tm__served ? &mem : w->pool->mem;
}

/* ---- the ring ---- */

/* Where a look at the ring begins: what is further than a turn behind the
   tail is met at the same place of this turn, so nobody need look there any
   more. Workers are done with jobs that are still there to be taken out. */
static uint64_t begin(tm__hub *hub, uint64_t tail) {
  _Atomic uint64_t *at = serves(hub) ? &hub->first : &hub->swept;
  uint64_t first = atomic_load(at);
  if (tail <= first || tail - first <= TM__RING) return first;
  atomic_compare_exchange_strong(at, &first, tail - TM__RING);
  return tail - TM__RING;
}

/* Holds the job at a position; NULL when there is none. */
static tm__job *hold_at(tm__hub *hub, uint64_t position) {
  _Atomic(tm__job *) *at = place(hub, position);
  tm__job *job = atomic_load(at);
  if (!job) return NULL;
  tm__seat *s = tm__served_seat;
  atomic_store(&s->looked, job);
  if (atomic_load(at) == job)
    tm__seat_hold(s, job);
  else
    job = NULL;
  atomic_store(&s->looked, NULL);
  return job;
}

/* Nothing at a position will be of use to anybody. */
static void move_first(tm__hub *hub, uint64_t position) {
  atomic_compare_exchange_strong(&hub->first, &position, position + 1);
}

tm__job *tm__hub_next(tm__hub *hub, bool *more) {
  uint64_t tail = atomic_load(&hub->tail);
  for (uint64_t i = begin(hub, tail); i < tail; i++) {
    tm__job *job = hold_at(hub, i);
    *more = i + 1 < tail;
    if (job && tm__job_claimable(job)) return job;
    bool over = !job || tm__job_done(job);
    if (job) tm__seat_drop(tm__served_seat, job);
    if (over) move_first(hub, i);
  }
  return NULL;
}

bool tm__hub_put(tm__hub *hub, tm__job *job) {
  uint64_t tail = atomic_load(&hub->tail);
  for (int tries = 0; tries < OVERTAKEN; tries++, tail++) {
    if (atomic_load(place(hub, tail))) continue;
    if (!job->entry) atomic_fetch_add(&hub->bell.left, 1);
    job->entry = tail + 1;
    atomic_store(place(hub, tail), job);
    atomic_store(&hub->tail, tail + 1);
    return true;
  }
  return false;
}

bool tm__hub_remove(tm__hub *hub, tm__job *job) {
  if (!job->entry) return false;
  atomic_store(place(hub, job->entry - 1), NULL);
  job->entry = 0;
  atomic_fetch_sub(&hub->bell.left, 1);
  return true;
}

/* Puts the job in front behind the others. In between it is in two places,
   which does no harm. */
static void overtake(tm__hub *hub, tm__job *job) {
  uint64_t before = job->entry;
  if (tm__hub_put(hub, job)) atomic_store(place(hub, before - 1), NULL);
}

/* Jobs that take long must not fill the ring with those that came after them
   and are done. */
static tm__job *look_on(tm__hub *hub, uint64_t swept, uint64_t tail) {
  for (int k = 0; k < LOOKS && swept < tail; k++) {
    if (hub->look < swept || hub->look >= tail) hub->look = swept;
    tm__job *job = atomic_load(place(hub, hub->look++));
    if (job && tm__job_done(job)) return job;
  }
  return NULL;
}

tm__job *tm__hub_done(tm__hub *hub) {
  uint64_t tail = atomic_load(&hub->tail), empty = 0, live = 0, swept;
  tm__job *stuck = NULL;
  swept = begin(hub, tail);
  while (swept < tail && !atomic_load(place(hub, swept))) swept++;
  atomic_store(&hub->swept, swept);
  for (uint64_t i = begin(hub, tail); i < tail; i++) {
    tm__job *job = atomic_load(place(hub, i));
    if (job && tm__job_done(job)) return job;
    if (job && ++live > FRONT) break;
    if (job && !stuck) stuck = job;
    if (!job && stuck && ++empty > OVERTAKEN) {
      overtake(hub, stuck);
      break;
    }
  }
  return look_on(hub, swept, tail);
}

tm__job *tm__hub_first(tm__hub *hub) {
  uint64_t tail = atomic_load(&hub->tail);
  for (uint64_t i = begin(hub, tail); i < tail; i++) {
    tm__job *job = atomic_load(place(hub, i));
    if (job) return job;
  }
  return NULL;
}

void tm__hub_tell(tm__hub *hub) {
  uint64_t tail = atomic_load(&hub->tail);
  for (uint64_t i = begin(hub, tail); i < tail; i++) {
    tm__job *job = atomic_load(place(hub, i));
    if (job) tm__job_tell(job);
  }
}

bool tm__hub_audit(tm__hub *hub) {
  uint64_t tail = atomic_load(&hub->tail);
  bool more = false;
  for (uint64_t i = begin(hub, tail); i < tail; i++) {
    tm__job *job = atomic_load(place(hub, i));
    if (!job || job->spec.window || !atomic_load(&job->slack)) continue;
    tm__job_audit(job);
    if (!tm__job_done(job)) more = true;
  }
  return more;
}

bool tm__hub_empty(tm__hub *hub) { return !tm__hub_first(hub); }

tm__pool *tm__job_pool(const tm__job *job) {
  return serves(job->hub) ? tm__served : job->pool;
}
