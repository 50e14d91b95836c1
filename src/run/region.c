#include "run/region.h"

#include <sched.h>
#include <string.h>

#include "base/platform.h"
#include "run/runtime.h"

/*
 * Times that decide, in nanoseconds.
 *   CHUNK  what a measured chunk should take: long beside a claim (10) and
 *          the clock (25), short beside what a user waits for
 *   FLOOR  chunks do not get shorter than this when few items are left
 *   SHARE  work below this is done before another core could take part
 *   WAKE   work below this is done before a sleeper is awake
 */
enum { CHUNK_NS = 50000, FLOOR_NS = 500, SHARE_NS = 1000, WAKE_NS = 50000 };

/* How many times as long as the last chunk the next one may be. */
enum { GROWTH = 8 };

/* ---- how many units to claim ---- */

/*
 * The cost of a unit as the last chunk showed it, and so the size of the next
 * chunk: as many units as take CHUNK_NS, but no more than a fair share of
 * what is left (so that costs that rise towards the end are balanced), and
 * no more than GROWTH times the last (so that a wrong first guess does no
 * harm, and costs that fall are met with small chunks).
 */
typedef struct pacer {
  uint64_t before; /* tm__now() at the end of the last chunk */
  double each;     /* ns a unit; 0: not known */
  double last;     /* the last chunk's size */
} pacer;

static double at_most(double a, double b) { return a < b ? a : b; }
static double at_least(double a, double b) { return a > b ? a : b; }

static pacer pacer_begin(double each) {
  return (pacer){.before = tm__now(),
                 .each = each,
                 .last = each > 0 ? CHUNK_NS / each : 1.0 / GROWTH};
}

static int64_t pacer_size(const pacer *p, int64_t left, int workers) {
  if (p->each <= 0) return 1;
  double size = at_most(CHUNK_NS / p->each, p->last * GROWTH);
  if (workers > 1) {
    double fair = (double)left / (2 * workers);
    size = at_most(size, at_least(fair, FLOOR_NS / p->each));
  }
  size = at_most(size, (double)left);
  return size > 1 ? (int64_t)size : 1;
}

/* Answers how long the chunk took. */
static uint64_t pacer_note(pacer *p, int64_t units) {
  uint64_t now = tm__now(), ns = now - p->before;
  p->before = now;
  p->last = (double)units;
  p->each = (double)(ns ? ns : 1) / (double)units;
  return ns;
}

/* ---- what earlier runs cost ---- */

/* A kernel's items cost the same again when its arguments have the same
   sizes; so we hope. */
static uint32_t fingerprint(const tm__call *c) {
  const tm__signature *s = &c->kernel->signature;
  uint64_t h = 1;
  for (int i = 0; i < s->count; i++) {
    uint64_t x = s->params[i].array ? (uint64_t)c->args[i].n
                 : s->params[i].dtype == TM_F64 || s->params[i].dtype == TM_F32
                     ? 0
                     : (uint64_t)c->args[i].i;
    h = (h ^ x) * 0x9fb21c651e98df25u;
  }
  return (uint32_t)(h >> 32) | 1;
}

/* ns an item, 0 when it is not known. */
static double prior(const tm__call *c, uint32_t print) {
  /* relaxed: one word, a hint */
  uint64_t word = atomic_load_explicit(
      &c->kernel->priors[print / 2 % TM__PRIORS], memory_order_relaxed);
  uint32_t bits = (uint32_t)word;
  float each;
  memcpy(&each, &bits, sizeof each);
  return word >> 32 == print ? (double)each : 0;
}

static void set_prior(tm__call *c, uint32_t print, double each) {
  float value = (float)each;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  atomic_store_explicit(&c->kernel->priors[print / 2 % TM__PRIORS],
                        (uint64_t)print << 32 | bits, memory_order_relaxed);
}

/* ---- the caller's side ---- */

/* A caller in its call; `region` is NULL while it must work alone. */
typedef struct caller {
  const struct caller *below; /* in whose item this one began */
  tm__pool *pool;
  tm__region *region;
  tm__call *call;
  tm__work work;
  pacer pace;
  int64_t chunk;  /* units; 0: measured */
  uint64_t spent; /* ns of own chunks that were measured */
  int64_t done;   /* units in them */
  uint32_t woken; /* sleepers */
} caller;

static _Thread_local const caller *innermost;

static void measure(caller *me, int64_t units) {
  me->spent += pacer_note(&me->pace, units);
  me->done += units;
}

/* Wakes as many sleepers as have something to do for WAKE_NS each. */
static void wake_for(caller *me, int64_t left) {
  tm__pool *pool = me->region->pool;
  double work = me->pace.each * (double)left / WAKE_NS;
  if (work < 1 || !atomic_load(&pool->bell->sleepers)) return;
  double others = (double)pool->nworkers - 1 - me->woken -
                  atomic_load(&pool->bell->spinners) -
                  tm__gate_joined(atomic_load(&me->region->gate));
  int count = (int)at_most(work, at_most(others, (double)left));
  if (count < 1) return;
  me->woken += (uint32_t)count;
  atomic_fetch_add(&pool->bell->epoch, 1);
  tm__futex_wake_some(&pool->bell->epoch, count,
                      tm__pool_welcome(pool, atomic_load(&me->region->cpu)));
}

static void publish(caller *me, int64_t next) {
  tm__region *r = me->region;
  tm__call *c = me->call;
  r->call = c;
  r->chunk = me->chunk;
  r->each = me->pace.each;
  /* relaxed: whoever joins sees the gate first */
  atomic_store_explicit(&r->cpu, r->pool->pinned ? tm__cpu() : -2,
                        memory_order_relaxed);
  atomic_store_explicit(&r->limit, c->plan.units, memory_order_relaxed);
  atomic_store_explicit(&r->next, next, memory_order_relaxed);
  /* seq_cst: opened before we look at sleepers (see tm__region_calls) */
  atomic_store(&r->gate, TM__GATE_OPEN);
}

/* Claims a chunk of the units below limit; false when there is none. The
   region's line is touched once where the chunk is given: it is on its way
   between cores all the time. */
static bool claim(tm__region *r, const pacer *pace, int64_t limit,
                  int64_t chunk, int64_t *from, int64_t *to) {
  int64_t size = chunk;
  if (!chunk) {
    /* relaxed: claims order nothing, the gate does */
    int64_t left = limit - atomic_load_explicit(&r->next, memory_order_relaxed);
    if (left <= 0) return false;
    size = pacer_size(pace, left, r->pool->nworkers);
  }
  *from = atomic_fetch_add_explicit(&r->next, size, memory_order_relaxed);
  if (*from >= limit) return false;
  *to = limit - *from < size ? limit : *from + size;
  return true;
}

/* Nothing more is claimed. */
static void drain(tm__region *r) {
  atomic_store_explicit(&r->next,
                        atomic_load_explicit(&r->limit, memory_order_relaxed),
                        memory_order_relaxed);
}

static void work_together(caller *me) {
  tm__region *r = me->region;
  int64_t from, to;
  bool known = me->pace.each > 0;
  if (known) wake_for(me, me->call->plan.units);
  while (claim(r, &me->pace, me->call->plan.units, me->chunk, &from, &to)) {
    tm__work_run(&me->work, from, to);
    if (tm__work_over(&me->work)) {
      drain(r);
      return;
    }
    if (known && me->chunk) continue;
    measure(me, to - from);
    known = true;
    wake_for(me, me->call->plan.units - to);
  }
}

/* Whether the rest is worth sharing: not before something was measured for
   longer than the clock takes. */
static bool worth_sharing(const caller *me, int64_t left) {
  if (!me->region || left == 0) return false;
  return me->spent >= FLOOR_NS && me->pace.each * (double)left >= SHARE_NS;
}

/* Works alone: to the end, or until the rest is worth sharing. Answers the
   first unit that is not done. */
static int64_t work_alone(caller *me) {
  int64_t next = 0, units = me->call->plan.units;
  if (units && me->pace.each * (double)units < SHARE_NS)
    me->pace.last = (double)units;
  while (next < units && !worth_sharing(me, units - next)) {
    int64_t size =
        me->chunk ? me->chunk : pacer_size(&me->pace, units - next, 1);
    if (size > units - next) size = units - next;
    tm__work_run(&me->work, next, next + size);
    if (tm__work_over(&me->work)) return units;
    if (!me->chunk || !me->done) measure(me, size);
    next += size;
  }
  return next;
}

/* ---- the end ---- */

static bool all_left(uint32_t gate) {
  return tm__gate_left(gate) == tm__gate_joined(gate);
}

static bool spin_until_left(tm__region *r) {
  tm_runtime *rt = r->pool->rt;
  uint64_t until = 0;
  do {
    for (int i = 0; i < 64; i++) {
      /* acquire: what those who left have written */
      if (all_left(atomic_load_explicit(&r->gate, memory_order_acquire)))
        return true;
      tm__relax();
    }
    sched_yield(); /* who works may be queued on this CPU */
    if (!until) until = tm__now() + TM__SPIN_NS;
  } while (tm__runtime_may_spin(rt) && tm__now() < until);
  return false;
}

enum { SLICE_NS = 20000000 };

/* Sleeps until the others have left, and looks now and then whether the
   user has had enough: kernels that ask are told. */
static void sleep_until_left(caller *me) {
  tm__region *r = me->region;
  tm_runtime *rt = r->pool->rt;
  uint32_t gate = atomic_fetch_or(&r->gate, TM__GATE_WAITING);
  gate |= TM__GATE_WAITING;
  while (!all_left(gate)) {
    atomic_fetch_sub(&rt->awake, 1);
    tm__futex_wait(&r->gate, gate, SLICE_NS, false);
    atomic_fetch_add(&rt->awake, 1);
    tm__work_over(&me->work);
    gate = atomic_load(&r->gate);
  }
}

static void join_all(caller *me) {
  tm__region *r = me->region;
  /* acquire: what those who left already have written */
  uint32_t gate =
      atomic_fetch_and_explicit(&r->gate, ~TM__GATE_OPEN, memory_order_acquire);
  if (all_left(gate)) return;
  if (!spin_until_left(r)) sleep_until_left(me);
}

/* ---- both sides ---- */

tm__region *tm__region_new(tm__pool *pool) {
  void *memory = tm__calloc(pool->mem, 1, sizeof(tm__region) + 64);
  if (!memory) return NULL;
  uintptr_t at = (uintptr_t)memory + 63;
  tm__region *r = (tm__region *)(at - at % 64);
  r->pool = pool;
  r->memory = memory;
  return r;
}

void tm__region_free(tm__region *r) {
  if (r) tm__free(r->pool->mem, r->memory);
}

/* The pool's region, for this caller alone; NULL: work alone. */
static tm__region *take(tm__pool *pool) {
  tm__worker *self = tm__worker_self();
  if (!pool || !pool->region || (self && self->pool == pool)) return NULL;
  /* acquire: the caller before us has read the gate for the last time */
  if (atomic_exchange_explicit(&pool->region->busy, 1, memory_order_acquire))
    return NULL;
  return pool->region;
}

static int64_t chunk_units(const tm__call *c, int64_t items) {
  if (!items) return 0;
  return items > c->plan.unit ? items / c->plan.unit : 1;
}

static void do_units(caller *me, double each) {
  bool together =
      me->region && me->call->plan.units > 1 &&
      (me->chunk || each * (double)me->call->plan.units >= SHARE_NS);
  int64_t next = together ? 0 : work_alone(me);
  if (next == me->call->plan.units) return;
  publish(me, next);
  work_together(me);
  join_all(me);
}

bool tm__region_inside(const tm_runtime *rt) {
  const caller *c = innermost;
  while (c && c->call->mem != &rt->mem) c = c->below;
  return c != NULL;
}

bool tm__region_inside_pool(const tm__pool *pool) {
  const caller *c = innermost;
  while (c && c->pool != pool) c = c->below;
  return c != NULL;
}

void tm__region_run(tm__pool *pool, tm__call *c, const tm__region_options *o) {
  uint32_t print = fingerprint(c);
  double each = prior(c, print) * (double)c->plan.unit;
  caller me;
  if (!c->plan.units) return;
  me.region = take(pool);
  me.below = innermost;
  me.pool = pool;
  me.call = c;
  me.pace = pacer_begin(each);
  me.chunk = chunk_units(c, o->chunk);
  me.spent = 0;
  me.done = 0;
  me.woken = 0;
  bool able = tm__work_begin(&me.work, c, 0, me.region ? pool->nworkers : 1);
  me.work.poll = o->poll;
  me.work.poll_argument = o->poll_argument;
  innermost = &me;
  if (able && !tm__work_over(&me.work)) do_units(&me, each);
  innermost = me.below;
  tm__work_end(&me.work);
  if (me.done)
    set_prior(c, print,
              (double)me.spent / (double)me.done / (double)c->plan.unit);
  if (me.region) /* release: the next caller may write */
    atomic_store_explicit(&me.region->busy, 0, memory_order_release);
}

static bool needs(tm__region *r, tm__worker *w, uint32_t gate) {
  if (!(gate & TM__GATE_OPEN) ||
      (int)tm__gate_joined(gate) + 1 >= r->pool->nworkers)
    return false;
  /* relaxed: hints; if they are old, the first claim fails */
  if (atomic_load_explicit(&r->next, memory_order_relaxed) >=
      atomic_load_explicit(&r->limit, memory_order_relaxed))
    return false;
  int cpu = atomic_load_explicit(&w->cpu, memory_order_relaxed);
  return cpu < 0 || cpu != atomic_load_explicit(&r->cpu, memory_order_relaxed);
}

bool tm__region_calls(tm__region *r, tm__worker *w) {
  return needs(r, w, atomic_load(&r->gate));
}

static void work_joined(tm__region *r, int number) {
  tm__work work;
  int64_t from, to, chunk = r->chunk, limit = r->call->plan.units;
  pacer pace = {.each = r->each};
  if (!tm__work_begin(&work, r->call, number, r->pool->nworkers)) {
    drain(r);
    return;
  }
  if (!chunk) pace = pacer_begin(r->each);
  while (claim(r, &pace, limit, chunk, &from, &to)) {
    tm__work_run(&work, from, to);
    if (!chunk) pacer_note(&pace, to - from);
    if (tm__work_over(&work)) {
      drain(r);
      break;
    }
  }
  tm__work_end(&work);
}

bool tm__region_join(tm__region *r, tm__worker *w) {
  uint32_t gate = atomic_load_explicit(&r->gate, memory_order_relaxed);
  do {
    if (!needs(r, w, gate)) return false;
    /* acquire: the call; relaxed when it fails, we only look again */
  } while (!atomic_compare_exchange_weak_explicit(
      &r->gate, &gate, gate + 1, memory_order_acquire, memory_order_relaxed));
  work_joined(r, (int)tm__gate_joined(gate) + 1);
  /* release: what our items wrote is the caller's to read */
  gate =
      atomic_fetch_add_explicit(&r->gate, TM__GATE_LEFT, memory_order_release) +
      TM__GATE_LEFT;
  if ((gate & TM__GATE_WAITING) && all_left(gate))
    tm__futex_wake(&r->gate, 1, false);
  return true;
}
