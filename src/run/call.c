#include "run/call.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/platform.h"
#include "run/job.h"

/* Blocks of a reduction: enough that costs that vary can be balanced on many
   workers, few enough that combining them costs nothing. */
enum { BLOCKS = 256 };

/* ---- reductions ---- */

static void fill_f64(double *x, int64_t n, double value) {
  for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void fill_i64(int64_t *x, int64_t n, int64_t value) {
  for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void begin_acc(const tm__kernel *k, const tm_arg *args, void *acc) {
  const tm__reduce *r = &k->reduce;
  bool real = r->dtype == TM_F64;
  memset(acc, 0, (size_t)r->count * 8);
  if (r->op == TM__REDUCE_OWN && k->entry.init)
    k->entry.init(acc, args);
  else if (r->op == TM__REDUCE_MIN && real)
    fill_f64(acc, r->count, HUGE_VAL);
  else if (r->op == TM__REDUCE_MAX && real)
    fill_f64(acc, r->count, -HUGE_VAL);
  else if (r->op == TM__REDUCE_MIN)
    fill_i64(acc, r->count, INT64_MAX);
  else if (r->op == TM__REDUCE_MAX)
    fill_i64(acc, r->count, INT64_MIN);
}

/* Not a number wins, so that it is not lost or found by the order. */
static double smaller(double a, double b) { return a < b || isnan(a) ? a : b; }

static double larger(double a, double b) { return a > b || isnan(a) ? a : b; }

static void combine_f64(int op, double *into, const double *from, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    into[i] = op == TM__REDUCE_SUM   ? into[i] + from[i]
              : op == TM__REDUCE_MIN ? smaller(into[i], from[i])
                                     : larger(into[i], from[i]);
}

static void combine_i64(int op, int64_t *into, const int64_t *from, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    int64_t a = into[i], b = from[i];
    if (op == TM__REDUCE_SUM) /* wraps, as Lua's integers do */
      into[i] = (int64_t)((uint64_t)a + (uint64_t)b);
    else
      into[i] = (op == TM__REDUCE_MIN) == (a < b) ? a : b;
  }
}

static void combine(const tm__call *c, void *into, const void *from) {
  const tm__reduce *r = &c->kernel->reduce;
  if (r->op == TM__REDUCE_OWN)
    c->kernel->entry.combine(into, from, c->args);
  else if (r->dtype == TM_F64)
    combine_f64(r->op, into, from, r->count);
  else
    combine_i64(r->op, into, from, r->count);
}

/* Pairwise, the lower block first: the rounding of a sum grows with the
   logarithm of their number. */
void tm__call_finish(tm__call *c, const void **result) {
  const tm__plan *p = &c->plan;
  *result = p->acc;
  if (!p->acc) return;
  size_t stride = c->kernel->reduce.stride;
  for (int64_t step = 1; step < p->units; step *= 2)
    for (int64_t i = 0; i + step < p->units; i += 2 * step)
      combine(c, p->acc + (size_t)i * stride,
              p->acc + (size_t)(i + step) * stride);
}

/* ---- plans and calls ---- */

static int64_t divide_up(int64_t a, int64_t b) {
  return b == 1 ? a : a / b + (a % b != 0);
}

int tm__plan_init(tm__plan *p, const tm__kernel *k, const tm__mem *mem,
                  const tm_arg *args, int64_t first, int64_t last, int64_t unit,
                  tm_error *e) {
  bool reduces = k->reduce.op != TM__REDUCE_NONE;
  int64_t n = last - first;
  if (reduces) unit = n > BLOCKS ? divide_up(n, BLOCKS) : 1;
  p->first = first;
  p->last = last;
  p->unit = unit;
  p->units = divide_up(n, unit);
  p->acc = NULL;
  if (!reduces) return TM_OK;
  size_t blocks = p->units ? (size_t)p->units : 1;
  p->acc = tm__alloc(mem, blocks * k->reduce.stride);
  if (!p->acc)
    return tm__fail(e, TM_ENOMEM,
                    "not enough memory for the reduction of kernel '%.60s'",
                    k->name);
  if (!p->units) begin_acc(k, args, p->acc);
  return TM_OK;
}

void tm__plan_term(tm__plan *p, const tm__mem *mem) { tm__free(mem, p->acc); }

/* All but the plan. */
static void begin_call(tm__call *c, tm__kernel *k, const tm__mem *mem,
                       const tm_arg *args) {
  c->kernel = k;
  c->mem = mem;
  c->args = args;
  c->watch = NULL;
  c->deadline = 0;
  c->failure[0] = '\0';
  atomic_init(&c->fail_at, INT64_MAX);
  atomic_init(&c->scratchless, false);
  atomic_init(&c->stopped, 0);
  pthread_mutex_init(&c->lock, NULL);
}

void tm__call_begin(tm__call *c, tm__kernel *k, const tm__mem *mem,
                    const tm_arg *args, const tm__plan *plan) {
  c->plan = *plan;
  begin_call(c, k, mem, args);
}

void tm__call_end(tm__call *c) { pthread_mutex_destroy(&c->lock); }

int tm__call_init(tm__call *c, tm__kernel *k, const tm__mem *mem,
                  const tm_arg *args, int64_t first, int64_t last,
                  tm_error *e) {
  int status = tm__plan_init(&c->plan, k, mem, args, first, last, 1, e);
  if (status == TM_OK) begin_call(c, k, mem, args);
  return status;
}

void tm__call_term(tm__call *c) {
  tm__call_end(c);
  tm__plan_term(&c->plan, c->mem);
}

void tm__call_renew(tm__call *c) {
  atomic_store(&c->fail_at, INT64_MAX);
  c->failure[0] = '\0';
}

void tm__call_outcome(tm__call *c, tm__outcome *out) {
  out->kind = tm__call_stopped(c);
  out->failed = tm__call_failed(c);
  out->core = false;
  out->item = atomic_load(&c->fail_at);
  out->text[0] = '\0';
  if (!out->failed) return;
  out->kind = TM__FAIL_TASK;
  out->core = atomic_load(&c->scratchless) && out->item == c->plan.first;
  snprintf(out->text, sizeof out->text, "%s", c->failure);
}

void tm__call_stop(tm__call *c, int kind) {
  uint32_t none = 0;
  atomic_compare_exchange_strong(&c->stopped, &none, (uint32_t)kind);
}

/* Notes a failure, unless there is one of a lower item; the first stays. */
static void note_failure(tm__call *c, int64_t item, const char *format,
                         va_list values) {
  pthread_mutex_lock(&c->lock);
  if (item < atomic_load(&c->fail_at)) {
    vsnprintf(c->failure, sizeof c->failure, format, values);
    atomic_store(&c->fail_at, item);
  }
  pthread_mutex_unlock(&c->lock);
}

static void fail(tm__call *c, int64_t item, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail(tm__call *c, int64_t item, const char *format, ...) {
  va_list values;
  va_start(values, format);
  note_failure(c, item, format, values);
  va_end(values);
}

/* ---- what kernels call ---- */

static tm__work *work_of(const tm_call *given) {
  return (tm__work *)(uintptr_t)given;
}

static int given_fail(const tm_call *given, int64_t item, const char *format,
                      ...) {
  tm__work *w = work_of(given);
  va_list values;
  w->failed = true;
  if (item >= given->last) item = given->last - 1;
  if (item < given->first) item = given->first;
  va_start(values, format);
  note_failure(w->call, item, format, values);
  va_end(values);
  return 1;
}

bool tm__call_late(tm__call *c) {
  if (tm__now_coarse() < c->deadline) return false;
  tm__call_stop(c, TM__FAIL_TIMEOUT);
  return true;
}

static int given_cancelled(const tm_call *given) {
  tm__work *w = work_of(given);
  if (tm__call_stopped(w->call) || tm__work_asks(w)) return 1;
  /* relaxed: asked again soon */
  return atomic_load_explicit(&w->call->fail_at, memory_order_relaxed) <
         given->first;
}

/* ---- work ---- */

enum { SCRATCH_ALIGN = 64 };

static bool make_scratch(tm__work *w) {
  size_t size = w->call->kernel->entry.scratch;
  w->given.scratch_size = size;
  if (!size) return true;
  w->memory = tm__alloc(w->call->mem, size + SCRATCH_ALIGN);
  if (!w->memory) return false;
  uintptr_t at = (uintptr_t)w->memory + SCRATCH_ALIGN - 1;
  w->given.scratch = (void *)(at - at % SCRATCH_ALIGN);
  return true;
}

bool tm__work_begin(tm__work *w, tm__call *c, int worker, int workers) {
  *w = (tm__work){.given = {.abi = TM_KERNEL_ABI,
                            .worker = worker,
                            .workers = workers,
                            .fail = given_fail,
                            .cancelled = given_cancelled},
                  .call = c};
  if (make_scratch(w)) return true;
  atomic_store(&c->scratchless, true);
  fail(c, c->plan.first, "not enough memory for %zu bytes of scratch",
       c->kernel->entry.scratch);
  return false;
}

void tm__work_end(tm__work *w) { tm__free(w->call->mem, w->memory); }

/* One call of the kernel. */
static inline bool run(tm__work *w, int64_t first, int64_t last) {
  tm__call *c = w->call;
  w->given.first = first;
  w->given.last = last;
  w->failed = false;
  int answer = c->kernel->entry.run(&w->given, c->args);
  if (answer && !w->failed) fail(c, first, "the kernel answered %d", answer);
  return answer == 0;
}

/* What is apart is not to make a chunk of a range kernel longer. */
#define apart __attribute__((noinline))

apart static bool run_items(tm__work *w, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; i++)
    if (!run(w, i, i + 1)) return false;
  return true;
}

static bool is_range(const tm__call *c) {
  return c->kernel->entry.kind == TM_KIND_RANGE;
}

/* Each unit is a block of the reduction. */
apart static void run_blocks(tm__work *w, int64_t from, int64_t to) {
  tm__call *c = w->call;
  const tm__plan *p = &c->plan;
  bool range = is_range(c);
  for (int64_t i = from; i < to; i++) {
    int64_t first = p->first + i * p->unit;
    int64_t last = p->last - first < p->unit ? p->last : first + p->unit;
    w->given.acc.p = p->acc + (size_t)i * c->kernel->reduce.stride;
    begin_acc(c->kernel, c->args, w->given.acc.p);
    if (!(range ? run(w, first, last) : run_items(w, first, last))) return;
  }
}

/* Short, for chunks that are: the rest is somewhere else. */
void tm__work_run(tm__work *w, int64_t from, int64_t to) {
  const tm__plan *p = &w->call->plan;
  if (p->acc) {
    run_blocks(w, from, to);
    return;
  }
  int64_t first = p->first + from * p->unit;
  int64_t last = to == p->units ? p->last : p->first + to * p->unit;
  if (is_range(w->call))
    run(w, first, last);
  else
    run_items(w, first, last);
}
