--- The kernels that rows about regions run, on the same C functions as the
--- peers' programs: support/measure.h.

local tm = require "tidemill"

local SOURCE = [[
static int arrived;

static int nothing(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  return 0;
}

static int begin(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  arrived = 0;
  return 0;
}

static int meet(const tm_call *c, const tm_arg *a) {
  (void)c;
  measure_meet(&arrived, (long)a[0].i);
  return 0;
}

static double sink;

static int rising(const tm_call *c, const tm_arg *a) {
  double x = 0;
  (void)a;
  for (int64_t i = c->first; i < c->last; i++) x += measure_burn((long)i);
  __atomic_store(&sink, &x, __ATOMIC_RELAXED);
  return 0;
}

static measure_late late;

static int prepare(const tm_call *c, const tm_arg *a) {
  (void)c;
  late.steps = measure_steps(late_work / LATE_ITEMS);
  a[0].f64[0] = LATE_ITEMS;
  return 0;
}

static int nap(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  late_sleep(&late);
  return 0;
}

static int work(const tm_call *c, const tm_arg *a) {
  (void)a;
  for (int64_t i = c->first; i < c->last; i++) late_item(&late, c->worker);
  return 0;
}

static int note(const tm_call *c, const tm_arg *a) {
  (void)c;
  late_note(&late, &a[0].f64[0], &a[0].f64[1]);
  return 0;
}

TM_KERNELS(
  TM_RANGE(nothing, ""), TM_RANGE(begin, ""), TM_RANGE(rising, ""),
  TM_ITEM(meet, "i64 goal"), TM_RANGE(prepare, "f64[1] items"),
  TM_RANGE(nap, ""), TM_RANGE(work, ""), TM_RANGE(note, "f64[2] times")
);
]]

local header <close> = assert(io.open "bench/support/measure.h")

return tm.compile('#include "tidemill_kernel.h"\n' .. header:read "a" .. SOURCE)
