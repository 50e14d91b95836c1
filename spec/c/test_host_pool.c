/*
 * test_host_pool.c: kernels and maps on pools from C, jobs, event loops
 */
#include "host.h"

static const int kinds[] = {TM_POOL_THREAD, TM_POOL_FAKE};

static void test_run(tm_runtime *rt, tm_pool *pool) {
  enum { N = 20000 };
  double sum = 0;
  tm_array *x = numbers(rt, N), *y = numbers(rt, N);
  tm_value args[] = {tm_array_value(y), tm_array_value(x), tm_integer(2)};
  WELL(tm_pool_run(pool, "axpy", N, args, 3, NULL, 0, NULL, &err));
  const double *at = tm_array_data(y);
  bool right = true;
  for (int i = 0; i < N; i++) right = right && at[i] == 3.0 * i;
  CHECK(right);
  WELL(tm_pool_run(pool, "total", N, args, 1, &sum, sizeof sum, NULL, &err));
  CHECK(sum == 3.0 * N * (N - 1) / 2);
  WELL(tm_pool_run(pool, "total", 0, args, 1, &sum, sizeof sum, NULL, &err));
  CHECK(sum == 0);
  tm_run_options o;
  tm_run_options_init(&o);
  o.first = 10;
  o.chunk = 3;
  WELL(tm_pool_run(pool, "total", 2, args, 1, &sum, sizeof sum, &o, &err));
  CHECK(sum == 30 + 33);
  tm_array_release(x);
  tm_array_release(y);
}

static void test_failure(tm_pool *pool) {
  FAILS(tm_pool_run(pool, "refuse_7", 100, NULL, 0, NULL, 0, NULL, &err),
        TM_EKERNEL, "item 7: seven is too much");
  WELL(tm_pool_run(pool, "refuse_7", 7, NULL, 0, NULL, 0, NULL, &err));
  tm_job *job;
  WELL(tm_pool_run_async(&job, pool, "refuse_7", 100, NULL, 0, NULL, &err));
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
  FAILS(tm_job_error(job, &err), TM_EKERNEL, "'refuse_7', item 7: seven");
  CHECK(tm_job_failed_item(job) == 7 && tm_job_progress(job) == 1);
  tm_job_free(job);
}

static void test_map(tm_pool *pool) {
  enum { N = 3000 };
  static int64_t in[N], out[N];
  _Atomic int calls = 0;
  for (int i = 0; i < N; i++) in[i] = i + 1;
  memset(out, 0, sizeof out);
  WELL(tm_pool_map(pool, square, &calls, N, in, sizeof *in, out, sizeof *out,
                   NULL, &err));
  CHECK(calls == N && out[0] == 1 && out[N - 1] == (int64_t)N * N);
  tm_run_options o;
  tm_run_options_init(&o);
  o.first = 5;
  o.name = "squares";
  WELL(tm_pool_map(pool, square, &calls, 2, NULL, 0, out, sizeof *out, &o,
                   &err));
  CHECK(out[0] == 25 && out[1] == 36 && out[2] == 9 && calls == N + 2);
}

/* ---- jobs ---- */

static void test_async(tm_runtime *rt, tm_pool *pool) {
  enum { N = 5000 };
  static int64_t out[N];
  double sum = 0;
  tm_job *a, *b;
  tm_array *x = numbers(rt, N);
  tm_value arg = tm_array_value(x);
  WELL(tm_pool_run_async(&a, pool, "total", N, &arg, 1, NULL, &err));
  WELL(tm_pool_map_async(&b, pool, square, NULL, N, NULL, 0, out, sizeof *out,
                         NULL, &err));
  tm_array_release(x); /* the job keeps it */
  CHECK(tm_job_wait(a, TM_FOREVER) == TM_OK && tm_job_poll(a) == 1);
  CHECK(tm_job_wait(b, 1e6) == TM_OK && tm_job_error(b, &err) == TM_OK);
  for (int twice = 0; twice < 2; twice++) {
    WELL(tm_job_result(a, &sum, sizeof sum, &err));
    CHECK(sum == (double)N * (N - 1) / 2);
  }
  CHECK(out[N - 1] == (int64_t)(N - 1) * (N - 1));
  FAILS(tm_job_result(a, &sum, 4, &err), TM_EINVAL, "is 8 bytes (got 4)");
  FAILS(tm_job_result(b, &sum, 8, &err), TM_EINVAL, "has no result");
  CHECK(tm_job_failed_item(a) == -1);
  tm_job_free(a);
  tm_job_free(b);
}

typedef struct told {
  int count;
  tm_job *last;
  bool frees;
} told;

static void on_done(void *user, tm_job *job) {
  told *t = user;
  t->count++;
  t->last = job;
  CHECK(tm_job_poll(job) == 1);
  if (t->frees) tm_job_free(job);
}

static tm_job *submit_square(tm_pool *pool, told *t, int64_t n) {
  tm_job *job = NULL;
  tm_run_options o;
  tm_run_options_init(&o);
  o.done = t ? on_done : NULL;
  o.done_user = t;
  WELL(tm_pool_map_async(&job, pool, square, NULL, n, NULL, 0, NULL, 0, &o,
                         &err));
  return job;
}

/* Empties what is due until `count` jobs were told. */
static void poll_until(tm_runtime *rt, const told *t, int count) {
  int fd = tm_fd(rt);
  CHECK(fd >= 0);
  while (t->count < count && readable(fd, -1)) CHECK(tm_poll(rt) >= 0);
  CHECK(t->count == count && !readable(fd, 0) && tm_poll(rt) == 0);
}

static void test_event_loop(tm_runtime *rt, tm_pool *pool) {
  told t = {0}, freed = {.frees = true};
  tm_job *job = submit_square(pool, &t, 10);
  poll_until(rt, &t, 1);
  CHECK(t.last == job);
  tm_job_free(job);
  for (int i = 0; i < 20; i++) submit_square(pool, &freed, i);
  poll_until(rt, &freed, 20);
  tm_job_free(submit_square(pool, &t, 5)); /* given up before it is told */
  poll_until(rt, &t, 2);
  job = submit_square(pool, NULL, 5); /* nobody is called: the fd tells */
  CHECK(readable(tm_fd(rt), -1) && tm_poll(rt) == 1 && tm_job_poll(job));
  tm_job_free(job);
}

static void count_done(void *user, tm_job *job) {
  ++*(int *)user;
  tm_job_free(job);
}

/* Whoever waits for callbacks is told of them after the end, too. */
static void test_event_loop_closed(void) {
  int calls = 0;
  tm_job *job;
  tm_run_options o;
  tm_runtime *rt = new_runtime(NULL);
  tm_pool *pool = new_pool(rt, TM_POOL_THREAD);
  int fd = tm_fd(rt);
  tm_run_options_init(&o);
  o.done = count_done;
  o.done_user = &calls;
  WELL(tm_pool_map_async(&job, pool, square, NULL, 100, NULL, 0, NULL, 0, &o,
                         &err));
  WELL(tm_runtime_close(rt, &err));
  CHECK(fd >= 0 && tm_fd(rt) == fd && readable(fd, 0));
  CHECK(tm_poll(rt) == 1 && calls == 1 && !readable(fd, 0));
  tm_pool_free(pool);
  tm_runtime_free(rt);
}

/* What an item says of another call's item is about its own call. */
static int blame(const tm_call *c, const void *in, void *out, void *user) {
  (void)in;
  (void)out;
  return c->first == 5 ? c->fail(c, *(int64_t *)user, "blamed") : 0;
}

static void test_blame(tm_pool *pool) {
  for (int64_t item = -1; item < 100; item += 50) {
    tm_job *job;
    FAILS(tm_pool_map(pool, blame, &item, 10, NULL, 0, NULL, 0, NULL, &err),
          TM_EKERNEL, "item 5: blamed");
    WELL(tm_pool_map_async(&job, pool, blame, &item, 10, NULL, 0, NULL, 0, NULL,
                           &err));
    CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
    CHECK(tm_job_failed_item(job) == 5);
    tm_job_free(job);
  }
}

/* Ends what it runs in; which thread does the item makes no difference. */
typedef struct ender {
  tm_runtime *rt;
  tm_pool *pool;
  int close[8], join[8];
} ender;

static int end_both(const tm_call *c, const void *in, void *out, void *user) {
  ender *u = user;
  (void)in;
  (void)out;
  u->close[c->first] = tm_runtime_close(u->rt, NULL);
  u->join[c->first] = tm_pool_join(u->pool, 0, NULL);
  usleep(1000);
  return 0;
}

static void test_end_from_inside(tm_runtime *rt, tm_pool *pool) {
  ender u = {.rt = rt, .pool = pool};
  tm_run_options o;
  tm_run_options_init(&o);
  o.chunk = 1;
  WELL(tm_pool_map(pool, end_both, &u, 8, NULL, 0, NULL, 0, &o, &err));
  for (int i = 0; i < 8; i++)
    CHECK(u.close[i] == TM_ETHREAD && u.join[i] == TM_ETHREAD);
}

static void test_cancel(tm_runtime *rt, tm_pool *pool) {
  int64_t one = 1;
  tm_array *begun;
  tm_job *job, *behind;
  WELL(tm_array_new(&begun, rt, TM_I64, 1, &one, &err));
  tm_value arg = tm_array_value(begun);
  WELL(tm_pool_run_async(&job, pool, "endless", 8, &arg, 1, NULL, &err));
  WELL(tm_pool_map_async(&behind, pool, square, NULL, 3, NULL, 0, NULL, 0, NULL,
                         &err));
  CHECK(tm_job_wait(job, 0.01) == TM_ETIMEOUT && tm_job_poll(job) == 0);
  FAILS(tm_job_error(job, &err), TM_EBUSY, "not done");
  CHECK(tm_job_failed_item(job) == -1);
  CHECK(tm_job_cancel(job) == TM_OK && tm_job_cancel(job) == TM_OK);
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
  FAILS(tm_job_error(job, &err), TM_ECANCELLED, "'endless' was cancelled");
  CHECK(tm_job_wait(behind, TM_FOREVER) == TM_OK);
  WELL(tm_job_error(behind, &err));
  tm_job_free(job);
  tm_job_free(behind);
  tm_array_release(begun);
}

static void test_time_limit(tm_runtime *rt, tm_pool *pool) {
  int64_t one = 1;
  tm_job *job;
  tm_array *begun;
  tm_run_options o;
  tm_run_options_init(&o);
  o.timeout = 0.005;
  WELL(tm_array_new(&begun, rt, TM_I64, 1, &one, &err));
  tm_value arg = tm_array_value(begun);
  FAILS(tm_pool_run(pool, "endless", 4, &arg, 1, NULL, 0, &o, &err),
        TM_ETIMEOUT, "ran out of time");
  WELL(tm_pool_run_async(&job, pool, "endless", 4, &arg, 1, &o, &err));
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
  FAILS(tm_job_error(job, &err), TM_ETIMEOUT, "ran out of time");
  tm_job_free(job);
  tm_array_release(begun);
}

/* ---- ends ---- */

static void test_ends(tm_runtime *rt, int kind) {
  tm_pool *pool = new_pool(rt, kind);
  tm_job *job = submit_square(pool, NULL, 100);
  FAILS(tm_pool_join(pool, 1, &err), TM_EINVAL, "close the pool first");
  WELL(tm_pool_close(pool, &err));
  WELL(tm_pool_join(pool, TM_FOREVER, &err));
  WELL(tm_pool_join(pool, TM_FOREVER, &err));
  CHECK(tm_job_poll(job) == 1);
  WELL(tm_job_error(job, &err));
  FAILS(tm_pool_map(pool, square, NULL, 1, NULL, 0, NULL, 0, NULL, &err),
        TM_ECLOSED, "the pool is closed");
  tm_pool_free(pool);
  WELL(tm_job_error(job, &err)); /* outlives its pool */
  tm_job_free(job);
}

static void test_terminate(tm_runtime *rt) {
  int64_t one = 1;
  tm_job *job;
  tm_array *begun;
  tm_pool *pool = new_pool(rt, TM_POOL_THREAD);
  WELL(tm_array_new(&begun, rt, TM_I64, 1, &one, &err));
  tm_value arg = tm_array_value(begun);
  WELL(tm_pool_run_async(&job, pool, "endless", 8, &arg, 1, NULL, &err));
  WELL(tm_pool_close(pool, &err));
  FAILS(tm_pool_join(pool, 0.01, &err), TM_ETIMEOUT, "go on");
  WELL(tm_pool_terminate(pool, &err));
  WELL(tm_pool_join(pool, TM_FOREVER, &err));
  FAILS(tm_job_error(job, &err), TM_ECANCELLED, "cancelled");
  tm_pool_free(pool);
  tm_job_free(job);
  tm_array_release(begun);
}

/* A function that uses, and may not end, the pool that it runs on. */
static int nested(const tm_call *c, const void *in, void *out, void *user) {
  tm_job *job;
  tm_pool *pool = user;
  (void)in;
  (void)out;
  if (tm_pool_map_async(&job, pool, square, NULL, 50, NULL, 0, NULL, 0, NULL,
                        NULL))
    return c->fail(c, c->first, "not taken");
  int status = tm_job_wait(job, TM_FOREVER);
  if (!status) status = tm_job_error(job, NULL);
  tm_job_free(job);
  if (tm_pool_map(pool, square, NULL, 50, NULL, 0, NULL, 0, NULL, NULL))
    return c->fail(c, c->first, "not mapped");
  return status;
}

static int end_from_inside(const tm_call *c, const void *in, void *out,
                           void *user) {
  (void)c;
  (void)in;
  *(int *)out = tm_pool_join(user, TM_FOREVER, NULL);
  return 0;
}

static void test_from_inside(tm_pool *pool) {
  int answer = 0;
  tm_job *job;
  WELL(tm_pool_map(pool, nested, pool, 6, NULL, 0, NULL, 0, NULL, &err));
  WELL(tm_pool_map_async(&job, pool, nested, pool, 6, NULL, 0, NULL, 0, NULL,
                         &err));
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
  WELL(tm_job_error(job, &err));
  tm_job_free(job);
  WELL(tm_pool_map_async(&job, pool, end_from_inside, pool, 1, NULL, 0, &answer,
                         sizeof answer, NULL, &err));
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK && answer == TM_ETHREAD);
  tm_job_free(job);
}

/* ---- many threads ---- */

typedef struct crew {
  tm_runtime *rt;
  tm_pool *pool;
} crew;

static void *work(void *user) {
  const crew *c = user;
  for (int i = 0; i < 30; i++) {
    int64_t out[64] = {0};
    WELL(tm_pool_map(c->pool, square, NULL, 64, NULL, 0, out, sizeof *out, NULL,
                     &err));
    CHECK(out[63] == 63 * 63);
    tm_job *job = submit_square(c->pool, NULL, 40);
    CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK);
    tm_job_free(job);
    tm_poll(c->rt);
  }
  return NULL;
}

static void test_threads(tm_runtime *rt, tm_pool *pool) {
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  crew c = {.rt = rt, .pool = pool};
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, &c);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  tm_poll(rt);
}

static int no_use(const tm_call *c, const tm_arg *args) {
  (void)args;
  return c->fail(c, 0, "this was called");
}

/* Memory that cannot be had is not a kernel's failure. */
static void test_scratch(tm_runtime *rt, tm_pool *pool, const char *name) {
  tm_kernel greedy = TM_RANGE(no_use, "", .scratch = (size_t)PTRDIFF_MAX / 2);
  tm_job *job;
  greedy.name = name;
  WELL(tm_kernel_register(rt, &greedy, &err));
  FAILS(tm_pool_run(pool, name, 100, NULL, 0, NULL, 0, NULL, &err), TM_ENOMEM,
        "bytes of scratch");
  WELL(tm_pool_run_async(&job, pool, name, 100, NULL, 0, NULL, &err));
  WELL(tm_job_wait(job, TM_FOREVER));
  FAILS(tm_job_error(job, &err), TM_ENOMEM, "bytes of scratch");
  tm_job_free(job);
}

int main(void) {
  heap h = {0};
  tm_runtime *rt = new_runtime(&h);
  if (!CHECK(rt)) return check_done();
  register_kernels(rt);
  for (int i = 0; i < 2; i++) {
    tm_pool *pool = new_pool(rt, kinds[i]);
    CHECK(pool && tm_pool_workers(pool) == (i ? 1 : 2));
    test_run(rt, pool);
    test_failure(pool);
    test_scratch(rt, pool, i ? "greedy" : "greedy too");
    test_map(pool);
    test_async(rt, pool);
    test_event_loop(rt, pool);
    test_time_limit(rt, pool);
    test_from_inside(pool);
    test_blame(pool);
    test_end_from_inside(rt, pool);
    test_threads(rt, pool);
    test_ends(rt, kinds[i]);
    if (kinds[i] == TM_POOL_THREAD) test_cancel(rt, pool);
    tm_pool_free(pool);
  }
  test_terminate(rt);
  test_event_loop_closed();
  tm_runtime_free(rt);
  CHECK(h.live == 0);
  return check_done();
}
