/*
 * test_host_wrap.c: memory of the host's as arrays: who sees it, how long
 */
#include "host_script.h"

/* The thread sanitizer loses sight of the threads of a child. */
#if defined(__SANITIZE_THREAD__)
static const bool forks = false;
#else
static const bool forks = true;
#endif

typedef struct owner {
  _Atomic int released;
  void *data;
} owner;

static void release(void *user, void *data) {
  owner *o = user;
  CHECK(data == o->data);
  atomic_fetch_add(&o->released, 1);
}

/* Scripts and worker threads see the host's memory in place; the host is told
   once when nobody does any more. */
static void test_wrap(void) {
  static double mine[4];
  owner o = {.data = mine};
  int64_t n = 4;
  tm_array *a, *b;
  tm_script *s = new_script(0);
  WELL(tm_array_wrap(&a, rt, mine, TM_F64, 1, &n, 0, release, &o, &err));
  CHECK(tm_array_data(a) == mine);
  WELL(tm_script_set(s, "a", tm_array_value(a), &err));
  WELL(RUN(s, "local tm = require 'tidemill'\n"
              "tm.thread_pool():map(function(i) a[i] = i * i end, "
              "{1, 2, 3, 4})\n"
              "return a:view(3, 4), a:copy()"));
  CHECK(mine[0] == 1 && mine[3] == 16);
  b = tm_array_retain(tm_script_result(s, 0).as.array);
  CHECK(tm_array_data(b) == mine + 2);
  CHECK(tm_array_data(tm_script_result(s, 1).as.array) != mine);
  tm_array_release(a);
  WELL(RUN(s, "a = nil;\n"
              "local pool = require 'tidemill'.thread_pool()\n"
              "pool:close() pool:join()"));
  tm_script_free(s);
  CHECK(o.released == 0);
  tm_array_release(b);
  CHECK(o.released == 1);
}

/* Waits a while for workers that have nothing to do. */
static bool released_soon(const owner *o) {
  for (int i = 0; i < 1000 && !o->released; i++) poll(NULL, 0, 10);
  return o->released == 1;
}

/* What a job showed to workers goes when they have nothing more to do: their
   garbage, and the global of a script that has another by now. */
static void forgets_after(const char *code) {
  static double mine[4];
  owner o = {.data = mine};
  int64_t n = 4;
  tm_array *a;
  tm_script *s = new_script(0);
  WELL(tm_array_wrap(&a, rt, mine, TM_F64, 1, &n, 0, release, &o, &err));
  tm_value arg = tm_array_value(a);
  WELL(tm_script_run_string(s, code, NULL, &arg, 1, &err));
  tm_array_release(a);
  WELL(RUN(s, "collectgarbage()")); /* of the arguments, too */
  if (!CHECK(released_soon(&o))) fprintf(stderr, "after %s\n", code);
  tm_script_free(s);
}

static void test_workers_let_go(void) {
  forgets_after("local a, tm = ..., require 'tidemill'\n"
                "tm.thread_pool():map(function(i) a[i] = i end, {1, 2, 3})\n"
                "a = nil");
  forgets_after("a, tm = ..., require 'tidemill'\n"
                "for _ = 1, 2 do\n"
                "  tm.thread_pool():map(function(i) a[i] = i end, {1, 2, 3})\n"
                "end\n"
                "a = nil");
  forgets_after("local a, tm = ..., require 'tidemill'\n"
                "tm.thread_pool():map(function(a) return a[1] end, {a, a})\n"
                "a = nil");
}

/* Processes have no use for it, and what they inherit is not counted. */
static void test_processes_let_go(void) {
  forgets_after("a, tm = ..., require 'tidemill'\n"
                "local pool = tm.Pool{kind = 'process', workers = 1}\n"
                "pool:map(function(i) return i end, {1, 2})\n"
                "a = nil");
  forgets_after("a, tm = ..., require 'tidemill'\n"
                "local pool = tm.Pool{kind = 'process', workers = 1}\n"
                "assert(not pcall(function()\n"
                "  pool:map(function(i) return a[i] end, {1, 2})\n"
                "end))\n"
                "a = nil");
}

/* Two concurrent jobs with the same global: one's end leaves it the other. */
static void test_global_of_two_jobs(void) {
  static double mine[2] = {1, 2};
  owner o = {.data = mine};
  int64_t n = 2;
  tm_array *a;
  tm_script *s = new_script(0);
  WELL(tm_array_wrap(&a, rt, mine, TM_F64, 1, &n, 0, release, &o, &err));
  WELL(tm_script_set(s, "a", tm_array_value(a), &err));
  tm_array_release(a);
  WELL(RUN(s, "local tm = require 'tidemill'\n"
              "local pool = tm.Pool{kind = 'thread', workers = 1}\n"
              "local function f(i) return a[i] end\n"
              "for _ = 1, 20 do\n"
              "  local go = pool:imap(f, {1, 2, 1, 2})\n"
              "  local x = pool:map_async(f, {1, 2}, {chunksize = 1})\n"
              "  for i, v in go do assert(v == 2 - i % 2) end\n"
              "  assert(x:get()[2] == 2)\n"
              "  assert(pool:apply(f, {1}) == 1)\n"
              "end\n"
              "pool:close() pool:join()"));
  tm_script_free(s);
  CHECK(o.released == 1);
}

static _Atomic int frames_now, frames_most;

static void release_frame(void *user, void *data) {
  (void)user;
  atomic_fetch_sub(&frames_now, 1);
  free(data);
}

/* A frame weighs on the collectors of the states that have it. */
static void test_frames_weigh(void) {
  enum { FRAMES = 100, SOME = 32 };
  int64_t n = (int64_t)1 << 20;
  tm_script *s = new_script(0);
  WELL(RUN(s, "local tm = require 'tidemill'\n"
              "function use(a)\n"
              "  tm.thread_pool():map(function(i) return a[i] end, {1, 2})\n"
              "end"));
  for (int i = 0; i < FRAMES; i++) {
    tm_array *a;
    double *frame = calloc((size_t)n, sizeof *frame);
    WELL(tm_array_wrap(&a, rt, frame, TM_F64, 1, &n, 0, release_frame, NULL,
                       &err));
    int now = atomic_fetch_add(&frames_now, 1) + 1;
    if (now > frames_most) frames_most = now;
    tm_value arg = tm_array_value(a);
    WELL(tm_script_call(s, "use", &arg, 1, &err));
    tm_array_release(a);
  }
  if (!CHECK(frames_most <= SOME)) fprintf(stderr, "%d\n", frames_most);
  tm_script_free(s);
}

static void test_wrap_readonly(void) {
  static const double table[2] = {1, 2};
  int64_t n = 2;
  double sum;
  tm_array *a;
  tm_script *s = new_script(0);
  tm_pool *pool = new_pool(rt, TM_POOL_FAKE);
  WELL(tm_array_wrap(&a, rt, (void *)(uintptr_t)table, TM_F64, 1, &n,
                     TM_ARRAY_READONLY, NULL, NULL, &err));
  tm_value args[] = {tm_array_value(a), tm_array_value(a), tm_number(1)};
  CHECK(tm_array_readonly(a));
  FAILS(tm_script_run_string(s, "local a = ...; a[1] = 0", NULL, args, 1, &err),
        TM_ELUA, "read-only");
  WELL(tm_pool_run(pool, "total", 2, args, 1, &sum, sizeof sum, NULL, &err));
  FAILS(tm_pool_run(pool, "axpy", 2, args, 3, NULL, 0, NULL, &err), TM_EINVAL,
        "read-only");
  tm_array_release(a);
  tm_pool_free(pool);
  tm_script_free(s);
}

static void release_other(void *user, void *data) {
  (void)data;
  tm_array_release(user);
}

/* The host lets go of an array of another runtime when it is told. */
static void test_wrap_of_wrap(void) {
  static double mine[1];
  owner o = {.data = mine};
  int64_t n = 1;
  tm_array *outer, *inner;
  tm_runtime *other = new_runtime(NULL);
  WELL(tm_array_wrap(&inner, other, mine, TM_F64, 1, &n, 0, release, &o, &err));
  WELL(tm_array_wrap(&outer, rt, mine, TM_F64, 1, &n, 0, release_other, inner,
                     &err));
  tm_array_release(outer);
  CHECK(o.released == 1 && tm_store_count(other) == 0);
  tm_runtime_free(other);
}

/* An array that outlives its runtime tells when it goes. */
static void test_wrap_outlives(void) {
  static double mine[1];
  owner o = {.data = mine};
  int64_t n = 1;
  tm_array *a;
  tm_runtime *other = new_runtime(NULL);
  WELL(tm_array_wrap(&a, other, mine, TM_F64, 1, &n, 0, release, &o, &err));
  tm_script *s = new_script(0);
  FAILS(tm_script_set(s, "a", tm_array_value(a), &err), TM_EINVAL,
        "another runtime");
  tm_value args[] = {tm_nil(), tm_array_value(a)};
  FAILS(tm_script_run_string(s, "", NULL, args, 2, &err), TM_EINVAL,
        "argument 2: the array is of another runtime");
  tm_script_free(s);
  tm_runtime_free(other);
  CHECK(o.released == 0 && tm_array_data(a) == mine);
  tm_array_release(a);
  CHECK(o.released == 1);
}

int main(void) {
  heap h = {0};
  rt = new_runtime(&h);
  if (!CHECK(rt)) return check_done();
  register_kernels(rt);
  test_wrap();
  test_wrap_readonly();
  test_wrap_outlives();
  test_wrap_of_wrap();
  test_workers_let_go();
  test_global_of_two_jobs();
  test_frames_weigh();
  if (forks) test_processes_let_go();
  tm_runtime_free(rt);
  CHECK(h.live == 0);
  return check_done();
}
